package config

import "time"

// Upstream is where an API forwards to and how.
type Upstream struct {
	// Targets has at least one entry. `upstream: {url: X}` is shorthand for one target of weight 1.
	Targets []Target `yaml:"targets"`
	// Host is what the Host header says upstream. Default HostReplace for native definitions.
	Host HostHeader `yaml:"host"`
	// Protocol is what is spoken upstream. Default ProtocolAuto.
	Protocol UpstreamProtocol `yaml:"protocol"`
	Timeouts Timeouts         `yaml:"timeouts"`
	TLS      ClientTLS        `yaml:"tls"`
	Retry    Retry            `yaml:"retry"`
	Ejection Ejection         `yaml:"ejection"`
	// Health, when Health.Interval is not 0, asks every target actively.
	Health Health `yaml:"health"`
	// MaxIdlePerTarget is how many idle connections are kept to each target.
	MaxIdlePerTarget int `yaml:"max_idle_per_target"`
}

// Target is one upstream address.
type Target struct {
	// URL is http or https with a host, an optional path that is put before the request's, and
	// neither user, query nor fragment.
	URL string `yaml:"url"`
	// Weight is this target's share among all weights, at least 1.
	Weight int `yaml:"weight,positive"`
}

// HostHeader says what becomes of the request's Host header.
type HostHeader string

// The treatments of the Host header.
const (
	HostReplace HostHeader = "replace" // the target's host
	HostKeep    HostHeader = "keep"    // what the client sent
)

// UnmarshalText accepts "replace" and "keep".
func (h *HostHeader) UnmarshalText(text []byte) error { return oneOf(h, text, HostReplace, HostKeep) }

// UpstreamProtocol is the HTTP version spoken to targets.
type UpstreamProtocol string

// The upstream protocols. ProtocolAuto is HTTP/1.1 in the clear and what ALPN agrees over TLS;
// ProtocolH2C is HTTP/2 in the clear with prior knowledge (RFC 9113, section 3.3).
const (
	ProtocolAuto  UpstreamProtocol = "auto"
	ProtocolHTTP1 UpstreamProtocol = "http1"
	ProtocolHTTP2 UpstreamProtocol = "http2"
	ProtocolH2C   UpstreamProtocol = "h2c"
)

// UnmarshalText accepts the named protocols.
func (p *UpstreamProtocol) UnmarshalText(text []byte) error {
	return oneOf(p, text, ProtocolAuto, ProtocolHTTP1, ProtocolHTTP2, ProtocolH2C)
}

// Timeouts bounds the steps of one request upstream; 0 is no bound.
type Timeouts struct {
	// Dial bounds connecting, the TLS handshake included.
	Dial time.Duration `yaml:"dial,positive"`
	// Header bounds the wait for the response header once the request is sent.
	Header time.Duration `yaml:"header,positive"`
	// Idle is how long an unused connection is kept.
	Idle time.Duration `yaml:"idle,positive"`
	// Body bounds a pause between two bytes of a body for which the target is to blame: in its response, and, over
	// HTTP/1.1, in taking the request's. Event streams and long polls pause. Default none.
	Body time.Duration `yaml:"body,positive"`
	// Total bounds the whole exchange, streams included. Default none.
	Total time.Duration `yaml:"total,positive"`
}

// ClientTLS is how the gateway behaves as a TLS client. File paths are absolute after loading.
type ClientTLS struct {
	// CAFile holds the PEM roots that sign servers; empty means the system's.
	CAFile string `yaml:"ca"`
	// CertFile and KeyFile, given together, are the client certificate of mutual TLS.
	CertFile string `yaml:"cert"`
	KeyFile  string `yaml:"key"`
	// ServerName replaces the host name in SNI and verification.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify accepts any certificate. For tests alone; check warns.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
	// MinVersion and MaxVersion are crypto/tls version numbers; 0 means 1.2 and no maximum.
	MinVersion TLSVersion `yaml:"min_version"`
	MaxVersion TLSVersion `yaml:"max_version"`
	// CipherSuites are crypto/tls suite names; empty means the library's choice.
	CipherSuites []string `yaml:"cipher_suites"`
}

// Retry sends a request to another target when nothing of it was sent.
type Retry struct {
	// Attempts counts all tries, the first included; 1 means no retry. Default 2, never more
	// useful than there are targets.
	Attempts int `yaml:"attempts,positive"`
}

// Ejection takes a failing target out of the rotation (passive health).
type Ejection struct {
	// Failures in a row that eject a target; 0 is never. Default 5.
	Failures int `yaml:"failures"`
	// For is how long it stays out. Default 10 s.
	For time.Duration `yaml:"for,positive"`
}

// Health asks each target whether it is well (active health).
type Health struct {
	// Method defaults to GET.
	Method string `yaml:"method"`
	// Path is joined to the target's host, not to its path.
	Path    string  `yaml:"path"`
	Body    string  `yaml:"body"`
	Headers Headers `yaml:"headers"`
	// Status are the expected statuses; empty means 200..299.
	Status []int `yaml:"status"`
	// Interval between checks of one target; 0 turns active checks off.
	Interval time.Duration `yaml:"interval,positive"`
	// Timeout of one check. Default 2 s, at most Interval.
	Timeout time.Duration `yaml:"timeout,positive"`
	// Healthy and Unhealthy are how many results in a row change the verdict. Defaults 2 and 3.
	Healthy   int `yaml:"healthy,positive"`
	Unhealthy int `yaml:"unhealthy,positive"`
}
