// Package sign holds keys, key files and signed envelopes (DSSE 1.0.2).
//
// The algorithm belongs to the key and never to what was signed: Ed25519 (RFC 8032), ECDSA on P-256 with SHA-256
// (FIPS 186-5), RSASSA-PSS with SHA-256 and 3072 bits or more (RFC 8017 §8.1). RSASSA-PKCS1-v1_5 verifies bundles of
// Tyk and nothing else. An envelope has one encoding, names its payload's type under the signature, and the payload
// is handed out together with the keys that verified it.
package sign

// Bounds of envelopes and key files.
const (
	MaxSignatures = 16
	MaxKeyFile    = 16 << 10 // bytes
	maxSignature  = 1 << 10  // bytes, RSA of 8192 bits
	maxType       = 128
)
