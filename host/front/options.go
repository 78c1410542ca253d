package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// The defaults of [Options].
const (
	DefaultHeaderTimeout  = 10 * time.Second
	DefaultIdleTimeout    = 120 * time.Second
	DefaultStallTimeout   = 60 * time.Second
	DefaultMaxHeader      = 64 << 10
	DefaultMaxFields      = 1000
	DefaultMaxStreams     = 250
	maxReadFrame          = 16 << 10 // RFC 9113 §4.2: what every endpoint must accept, and all we want
	maxStreamBuffer       = 256 << 10
	maxConnBuffer         = 1 << 20
	cutGrace              = 5 * time.Second // for handlers to notice that their connection was cut
	lingerTimeout         = 500 * time.Millisecond
	maxLinger             = 256 << 10
	certificateCheckEvery = time.Second
)

// Options configure a [Front]. The zero value of every field but Address is usable. Durations: 0 takes the default, a
// negative one means no bound.
type Options struct {
	Address  string       // host:port; not needed with Listener
	Listener net.Listener // used in place of Address; the front closes it

	TLS *TLSOptions // nil: in the clear
	H2C bool        // HTTP/2 in the clear with prior knowledge (RFC 9113 §3.3)

	// TrustedProxies are the peers whose X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and PROXY headers are
	// believed. Default none.
	TrustedProxies []netip.Prefix
	// XFFDepth takes the client's address that many entries from the right of X-Forwarded-For (the leftmost when there
	// are fewer); 0 takes the rightmost entry that is not a trusted proxy.
	XFFDepth int
	// ProxyProtocol reads a PROXY protocol header (v1 or v2) from connections of trusted proxies, which then must send
	// one: the protocol forbids guessing. Other peers' connections are read as they are.
	ProxyProtocol bool

	HeaderTimeout time.Duration // a request's header, a TLS handshake, a PROXY header; default 10 s
	ReadTimeout   time.Duration // header and body of an HTTP/1 request; default no bound
	IdleTimeout   time.Duration // between requests of a connection; default 120 s
	ReadStall     time.Duration // without a byte of an HTTP/1 request body that is waited for; default 60 s
	WriteStall    time.Duration // without the client taking a byte; default 60 s

	MaxHeader  int // bytes of a request's header, 431 beyond (net/http grants 4 KiB more); default 64 KiB
	MaxFields  int // field lines of a request's header, 431 beyond; default 1000
	MaxConns   int // connections at a time, further ones wait in the kernel's queue; 0: no bound
	MaxStreams int // concurrent requests of an HTTP/2 connection; default 250

	Logger *slog.Logger // default: nothing is logged
}

// TLSOptions configure TLS, 1.2 and up.
type TLSOptions struct {
	// CertFiles and KeyFiles are PEM files, a chain and its key at the same index. The first chain that fits the
	// client's server name is used, else the first of all.
	CertFiles, KeyFiles []string
	// ClientCAFile holds the PEM roots that client certificates are verified against when one is presented. Empty:
	// one is asked for and handed on unverified.
	ClientCAFile string
	// RequireClientCert refuses handshakes without a client certificate.
	RequireClientCert bool
	// MinVersion is tls.VersionTLS12 (default) or tls.VersionTLS13.
	MinVersion uint16
}

func (o Options) withDefaults() (Options, error) {
	if o.Address == "" && o.Listener == nil {
		return o, errors.New("front: no address to listen on: set Address, such as 127.0.0.1:8080")
	}
	if o.XFFDepth < 0 {
		return o, fmt.Errorf("front: X-Forwarded-For depth %d: want 0 or more", o.XFFDepth)
	}
	bound(&o.HeaderTimeout, DefaultHeaderTimeout)
	bound(&o.ReadTimeout, 0)
	bound(&o.IdleTimeout, DefaultIdleTimeout)
	bound(&o.ReadStall, DefaultStallTimeout)
	bound(&o.WriteStall, DefaultStallTimeout)
	if o.MaxHeader <= 0 {
		o.MaxHeader = DefaultMaxHeader
	}
	if o.MaxFields <= 0 {
		o.MaxFields = DefaultMaxFields
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = DefaultMaxStreams
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if t := o.TLS; t != nil {
		switch {
		case len(t.CertFiles) == 0:
			return o, errors.New("front: TLS without a certificate file")
		case len(t.CertFiles) != len(t.KeyFiles):
			return o, fmt.Errorf("front: %d certificate files and %d key files: want one key for each", len(t.CertFiles), len(t.KeyFiles))
		case t.MinVersion != 0 && t.MinVersion < tls.VersionTLS12:
			return o, fmt.Errorf("front: minimum %s: want TLS 1.2 or 1.3", tls.VersionName(t.MinVersion))
		}
	}
	return o, nil
}

// bound makes 0 the default and a negative duration 0, which is how net/http spells no bound.
func bound(d *time.Duration, def time.Duration) {
	switch {
	case *d == 0:
		*d = def
	case *d < 0:
		*d = 0
	}
}
