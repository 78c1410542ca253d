package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// BundleSettings say where bundles are and whom to believe. What they mean is for whoever verifies bundles.
type BundleSettings struct {
	// BaseURL is where bundles are that definitions name: a folder, an https or http URL, oci://HOST/PREFIX or
	// oci-layout:FOLDER. Bundles in Settings.Plugins go before; by default there are only those. A folder is absolute after
	// loading.
	BaseURL string `yaml:"base_url"`
	// PlainHTTP speaks http to an oci:// registry. An http URL needs no such word.
	PlainHTTP bool      `yaml:"plain_http"`
	TLS       BundleTLS `yaml:"tls"`
	// Poll is how often the base, when it is no folder, is asked for what is new there. Default 30 s; 0 is never.
	Poll time.Duration `yaml:"poll"`

	// PublicKeys are PEM files of keys that may sign every name. Absolute after loading.
	PublicKeys []string `yaml:"public_keys"`
	// AllowUnsigned are names, exactly as definitions have them, that nobody need have signed.
	AllowUnsigned []string `yaml:"allow_unsigned"`
	// TrustTykWiring takes the manifest of bundles that Tyk signed, which that signature does not cover. Default false.
	TrustTykWiring bool `yaml:"trust_tyk_wiring"`
	// Policy is a file that says more than the two before, in their place. Absolute after loading.
	Policy string `yaml:"policy"`
	// KeyRing is a signed key ring, or a folder of its versions, in place of PublicKeys; KeyRingSHA256 the digest of the
	// first one that is trusted. Absolute after loading.
	KeyRing       string `yaml:"key_ring"`
	KeyRingSHA256 string `yaml:"key_ring_sha256"`
	// Index is a signed index: a file, absolute after loading, or a URL.
	Index string `yaml:"index"`
	// AcceptNewState begins a new trust state where the one is missing that was there. For one start only.
	AcceptNewState bool `yaml:"accept_new_state"`

	// RequireSigned takes code from signed bundles alone: no loose scripts, no plugin folders, no commands. Default false.
	RequireSigned bool `yaml:"require_signed"`
}

// BundleTLS is TLS towards the server of bundles, and towards no other.
type BundleTLS struct {
	// CAFile holds PEM roots (default: the system's), CertFile and KeyFile the client certificate of mutual TLS. Absolute
	// after loading.
	CAFile     string `yaml:"ca"`
	CertFile   string `yaml:"cert"`
	KeyFile    string `yaml:"key"`
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify accepts any certificate; what is fetched is verified all the same. Default false.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// defaultBundlePoll is how often the base of bundles is asked.
const defaultBundlePoll = 30 * time.Second

// files makes the paths absolute. What they name is read when bundles are loaded, again and again.
func (b *BundleSettings) files(at func(path string) *fileFields) {
	const path = "$.bundles"
	for i, file := range b.PublicKeys {
		b.PublicKeys[i] = at(path + ".public_keys").folder.join(file)
	}
	for _, f := range []struct {
		key   string
		value *string
	}{{".policy", &b.Policy}, {".key_ring", &b.KeyRing}, {".index", &b.Index}, {".base_url", &b.BaseURL}} {
		if *f.value != "" && !addressed(*f.value) {
			*f.value = at(path + f.key).folder.join(*f.value)
		}
	}
	if dir, ok := strings.CutPrefix(b.BaseURL, "oci-layout:"); ok {
		b.BaseURL = "oci-layout:" + at(path+".base_url").folder.join(dir)
	}
	at(path+".tls.ca").file(path+".tls.ca", &b.TLS.CAFile)
	at(path+".tls.cert").file(path+".tls.cert", &b.TLS.CertFile)
	at(path+".tls.key").file(path+".tls.key", &b.TLS.KeyFile)
}

// addressed reports whether a text is an address with a scheme, and no path.
func addressed(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "oci-layout:")
}

func (v *validator) bundleSettings(b *BundleSettings) {
	const path = "$.bundles"
	if u, err := url.Parse(b.BaseURL); strings.Contains(b.BaseURL, "://") && (err != nil || u.Host == "" && u.Scheme != "file") {
		v.errorf(path+".base_url", "not a folder, and no address like https://host/bundles or oci://host/bundles")
	}
	v.pair(path+".tls", b.TLS.CertFile, b.TLS.KeyFile)
	if b.Poll < 0 {
		v.errorf(path+".poll", "must not be negative")
	}
	if b.KeyRing != "" && len(b.PublicKeys) > 0 {
		v.errorf(path+".public_keys", "stand beside a key ring, of which alone the keys count: put them into it")
	}
	if b.KeyRing != "" && b.KeyRingSHA256 == "" {
		v.errorf(path+".key_ring_sha256", "the digest of the first key ring that is trusted is required")
	}
	if b.Policy != "" && (len(b.AllowUnsigned) > 0 || b.TrustTykWiring) {
		v.errorf(path+".policy", "allow_unsigned and trust_tyk_wiring stand beside a policy: say it there")
	}
	for i, name := range b.AllowUnsigned {
		switch {
		case b.RequireSigned:
			v.errorf(document.Index(path+".allow_unsigned", i), "%q may be unsigned, and require_signed is set", name)
		case strings.ContainsAny(name, "*?["):
			v.errorf(document.Index(path+".allow_unsigned", i), "%q is no name: what may be unsigned is named exactly", name)
		}
	}
}
