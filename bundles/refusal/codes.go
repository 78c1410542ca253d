package refusal

// The codes, grouped by what is judged.
const (
	Internal Code = "internal" // no refusal: the machine failed

	// The archive.
	ZipTruncated    Code = "zip_truncated"
	ZipTrailing     Code = "zip_trailing_data"
	ZipGap          Code = "zip_gap_or_overlap"
	ZipDirectory    Code = "zip_directory"
	ZipHeader       Code = "zip_header"
	ZipLocal        Code = "zip_local_header"
	ZipEncrypted    Code = "zip_encrypted"
	ZipMethod       Code = "zip_method"
	ZipZip64        Code = "zip_zip64"
	ZipComment      Code = "zip_comment"
	ZipExtra        Code = "zip_extra_field"
	ZipSymlink      Code = "zip_special_file"
	ZipName         Code = "zip_name"
	ZipDuplicate    Code = "zip_duplicate_name"
	ZipDescriptor   Code = "zip_data_descriptor"
	ZipData         Code = "zip_data"
	LimitArchive    Code = "limit_archive_size"
	LimitFile       Code = "limit_file_size"
	LimitTotal      Code = "limit_total_size"
	LimitFiles      Code = "limit_file_count"
	LimitRatio      Code = "limit_ratio"
	LimitEnvelope   Code = "limit_envelope_size"
	LimitSignatures Code = "limit_signatures"

	// Signatures and keys.
	Unsigned         Code = "unsigned"
	Envelope         Code = "envelope"
	EnvelopeType     Code = "envelope_type"
	SignatureInvalid Code = "signature_invalid"
	SignatureTwice   Code = "signature_twice"
	KeyUnknown       Code = "key_unknown"
	KeyExpired       Code = "key_expired"
	KeyEarly         Code = "key_not_yet_valid"
	KeyRevoked       Code = "key_revoked"
	KeyWeak          Code = "key_weak"
	KeyFile          Code = "key_file"
	KeyFileMode      Code = "key_file_mode"
	KeyPassphrase    Code = "key_passphrase"
	Threshold        Code = "threshold"

	// What is signed.
	Payload         Code = "payload"
	PayloadSchema   Code = "payload_schema"
	PayloadCritical Code = "payload_critical"
	PrefixDigest    Code = "prefix_digest"
	FileMissing     Code = "file_missing"
	FileUnlisted    Code = "file_unlisted"
	FileSize        Code = "file_size"
	FileDigest      Code = "file_digest"
	PluginFile      Code = "plugin_file"
	NameMismatch    Code = "name_mismatch"
	Platform        Code = "platform"
	HostVersion     Code = "host_version"
	Sandbox         Code = "sandbox"

	// Policy, freshness, state.
	NoRule           Code = "no_rule"
	PolicyMalformed  Code = "policy"
	PinMismatch      Code = "pin_mismatch"
	PinMissing       Code = "pin_missing"
	Expired          Code = "expired"
	Early            Code = "created_in_the_future"
	BundleRevoked    Code = "bundle_revoked"
	Rollback         Code = "rollback"
	MinSerial        Code = "min_serial"
	Republished      Code = "republished"
	Epoch            Code = "epoch"
	Downgrade        Code = "downgrade_to_v1"
	IndexMissing     Code = "index_missing"
	IndexMalformed   Code = "index"
	IndexExpired     Code = "index_expired"
	IndexRollback    Code = "index_rollback"
	IndexMismatch    Code = "index_mismatch"
	KeyRingMalformed Code = "key_ring"
	KeyRingExpired   Code = "key_ring_expired"
	KeyRingRollback  Code = "key_ring_rollback"
	KeyRingPin       Code = "key_ring_pin"
	StateMissing     Code = "state_missing"
	StateMalformed   Code = "state"

	// Tyk's bundles.
	TykManifestMissing Code = "tyk_manifest_missing"
	TykManifest        Code = "tyk_manifest"
	TykChecksum        Code = "tyk_checksum"
	TykSignature       Code = "tyk_signature"
	TykWiring          Code = "tyk_wiring_unsigned"
	TykInlineCode      Code = "tyk_inline_code"
	TykHookPath        Code = "tyk_hook_path"
	TykDriver          Code = "tyk_driver"

	// Sources and building.
	SourceName     Code = "source_name"
	SourceMissing  Code = "source_not_found"
	SourceKind     Code = "source_not_a_file"
	SourceScheme   Code = "source_scheme"
	SourceInsecure Code = "source_plain_http"
	SourceStatus   Code = "source_status"
	SourceRedirect Code = "source_redirect"
	SourceDigest   Code = "source_digest"
	SourceFailed   Code = "source_failed"
	SourceManifest Code = "source_manifest"
	BuildFolder    Code = "build_folder"
	BuildVersion   Code = "build_version"
)

const (
	rebuild  = "build it again with turnbuckle bundle build, and fetch it anew"
	resign   = "have it signed again with turnbuckle bundle sign"
	smaller  = "make the bundle smaller, or raise the limit in the settings"
	fixState = "restore data/trust.json from a backup; starting anew forgets which versions were seen and needs --accept-new-state"
)

var advice = map[Code]string{
	Internal: "see the message; nothing was loaded",

	ZipTruncated: rebuild, ZipTrailing: rebuild, ZipGap: rebuild, ZipDirectory: rebuild, ZipHeader: rebuild,
	ZipLocal: rebuild, ZipZip64: rebuild, ZipComment: rebuild, ZipExtra: rebuild, ZipDescriptor: rebuild, ZipData: rebuild,
	ZipEncrypted: "build it without encryption",
	ZipMethod:    "pack it with deflate or stored",
	ZipSymlink:   "pack files only, no links and devices",
	ZipName:      "rename the file",
	ZipDuplicate: "keep one of the files: names that differ in case only are the same on some systems",
	LimitArchive: smaller, LimitFile: smaller, LimitTotal: smaller, LimitFiles: smaller, LimitRatio: smaller,
	LimitEnvelope: rebuild, LimitSignatures: "sign it with fewer keys",

	Unsigned:         "sign it with turnbuckle bundle sign, or allow the name, exactly as the definition has it, with --allow-unsigned",
	Envelope:         rebuild,
	EnvelopeType:     "this is signed as something else; give the file that belongs here",
	SignatureInvalid: "the content is not what was signed; fetch it anew, and find out who changed it",
	SignatureTwice:   resign,
	KeyUnknown:       "trust its key with --public-key or the key ring, or have it signed with a trusted one",
	KeyExpired:       "have it signed with a key that is valid now",
	KeyEarly:         "wait until the key is valid, or have it signed with one that is",
	KeyRevoked:       "have it signed with a key that is not revoked",
	KeyWeak:          "use Ed25519, ECDSA P-256 or RSA of 3072 bits or more",
	KeyFile:          "make keys with turnbuckle bundle keygen",
	KeyFileMode:      "make it readable by its owner alone: chmod 600",
	KeyPassphrase:    "give the passphrase that the key was made with",
	Threshold:        "have it signed by more of the keys that the policy names",

	Payload: rebuild, PayloadSchema: "use a gateway that knows this format, or build the bundle for this one",
	PayloadCritical: "use a gateway that understands what the bundle insists on",
	PrefixDigest:    "the files are not those that were signed; fetch it anew",
	FileMissing:     rebuild, FileUnlisted: rebuild,
	FileSize:     "the file is not the one that was signed; fetch it anew",
	FileDigest:   "the file is not the one that was signed; fetch it anew",
	PluginFile:   "put a plugin.yaml with this name and version in the folder and build again",
	NameMismatch: "give the definition the name the bundle was built with, or build it with this name",
	Platform:     "build the bundle for this platform",
	HostVersion:  "use a version of the gateway that the bundle is made for",
	Sandbox:      "this gateway cannot enforce the sandbox that the bundle demands; build it without, or use one that can",

	NoRule:           "add a rule for this name to the trust policy",
	PolicyMalformed:  "correct the trust policy",
	PinMismatch:      "this is not the file that was pinned; fetch it anew or change the pin",
	PinMissing:       "pin its sha256, require a signature, or fetch it over https",
	Expired:          "build and sign a newer one",
	Early:            "check the clocks of this machine and of the one it was built on",
	BundleRevoked:    "use another release",
	Rollback:         "to go back on purpose: turnbuckle bundle rollback",
	MinSerial:        "use a newer release, or lower min_serial in the policy",
	Republished:      "give the changed bundle a new version: one serial is one content",
	Epoch:            "build it with the epoch that the key ring or the policy names",
	Downgrade:        "this name had a bundle signed in our format before; adopt this one with turnbuckle bundle adopt",
	IndexMissing:     "publish an index that lists it: turnbuckle bundle index",
	IndexMalformed:   "make the index with turnbuckle bundle index",
	IndexExpired:     "publish a fresh index: turnbuckle bundle index",
	IndexRollback:    "fetch the newest index; somebody served an old one",
	IndexMismatch:    "fetch the release that the index lists, or publish an index that lists this one",
	KeyRingMalformed: "make the key ring with turnbuckle bundle keyring",
	KeyRingExpired:   "publish a key ring that has not expired",
	KeyRingRollback:  "publish the next version of the key ring, signed by the roots of both",
	KeyRingPin:       "pin the sha256 of the first key ring you trust",
	StateMissing:     fixState, StateMalformed: fixState,

	TykManifestMissing: "pack it with turnbuckle bundle build or tyk bundle build",
	TykManifest:        "correct manifest.json and run tyk bundle build again",
	TykChecksum:        "the files are not those the manifest was made for: run tyk bundle build again, or fetch it anew",
	TykSignature:       "the files are not those that were signed, or with another key; give its key with --public-key",
	TykWiring: "Tyk signs files and not the hooks: vouch for this one with turnbuckle bundle adopt, pin manifest_sha256 in the policy, " +
		"or accept it for all with --trust-tyk-wiring",
	TykInlineCode: "Tyk does not sign code in manifest.json: put it in a file, or vouch for it with turnbuckle bundle adopt",
	TykHookPath:   "list the file of the hook in file_list and build it again",
	TykDriver:     "name the driver in manifest.json: python, lua, otto, javascript or grpc",

	SourceName:     "name the bundle by a relative path without .. in it",
	SourceMissing:  "check the name and where bundles are looked for",
	SourceKind:     "give the bundle's .zip file",
	SourceScheme:   "use an https, oci or file address",
	SourceInsecure: "use https, or allow plain http for this base address",
	SourceStatus:   "check the server of the bundles",
	SourceRedirect: "give the address it redirects to",
	SourceDigest:   "the server sent something else than was pinned; find out why",
	SourceFailed:   "check the server of the bundles and the way to it",
	SourceManifest: "put it there with turnbuckle bundle push",
	BuildFolder:    "correct the plugin's folder",
	BuildVersion:   "give a version like 1.2.3, or --serial",
}
