package upstream

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Options are the settings of an [Upstream]. Zero values mean what each field says.
type Options struct {
	Targets  []Target // at least one
	Protocol Protocol // default Auto
	Timeouts Timeouts
	Pool     Pool
	// TLS is for https targets: roots, client certificate, versions, ServerName (default: the target's host). Nil means
	// the system's roots and TLS 1.2 at least. ALPN is the upstream's business.
	TLS *tls.Config
	// Attempts bounds how many targets a request is tried at, when nothing was sent to those before. Default 1.
	Attempts int
	Ejection Ejection
	Health   Health
	// MaxHeaderBytes and MaxHeaderFields bound a reply's header. Defaults 1 MiB and 1,000.
	MaxHeaderBytes  int
	MaxHeaderFields int
	// Notify, when not nil, is told when a target goes down or comes up. It is called on the goroutine that noticed,
	// one call at a time, and must not block.
	Notify func(Event)
}

// Target is one address and its share.
type Target struct {
	URL    string // http://HOST[:PORT][/PATH], https:// the same, or unix:PATH
	Weight int    // default 1
}

// Protocol is the HTTP version spoken to targets.
type Protocol string

// The protocols. Requests to switch protocols always travel in HTTP/1.1, over connections of their own.
const (
	Auto  Protocol = "auto"  // HTTP/1.1 in the clear, what ALPN agrees on over TLS (RFC 7301)
	HTTP1 Protocol = "http1" // HTTP/1.1
	HTTP2 Protocol = "http2" // HTTP/2: by ALPN over TLS, by prior knowledge in the clear
	H2C   Protocol = "h2c"   // HTTP/2 in the clear by prior knowledge (RFC 9113 §3.3)
)

// Timeouts bound the steps of one request; 0 is no bound. All but Dial may strike late:
// by up to 50 ms, or 150 ms when no other request is younger than a second.
type Timeouts struct {
	Dial   time.Duration // connecting, TLS handshake included
	Header time.Duration // from the request's last byte to the reply's header
	Body   time.Duration // a pause between body bytes that the target is to blame for; in HTTP/2, those of the reply
	Total  time.Duration // request and reply together, streams included; flow.Outbound.Timeout replaces it
}

// Pool bounds the unused connections.
type Pool struct {
	MaxIdle     int           // per target, about; default 1024, negative: none
	IdleTimeout time.Duration // default 90 s
}

// Ejection takes a target that fails out of the rotation (passive health). What counts is no connection, no reply
// within the timeout, a connection cut before the reply's header, and replies that are not HTTP; any reply is a success.
type Ejection struct {
	Failures int           // in a row; 0: never
	For      time.Duration // doubled each time in a row up to MaxFor; default 10 s
	MaxFor   time.Duration // default 30 × For
}

// Health asks each target whether it is well (active health).
type Health struct {
	Interval  time.Duration // between checks of one target; 0: no checks
	Timeout   time.Duration // of one check; default 2 s, at most Interval
	Method    string        // default GET
	Path      string        // on the target's host, not below its base path; default /
	Body      string
	Header    []sdk.Field
	Status    []int // expected; default 200 to 299
	Healthy   int   // results in a row that bring a target up; default 2
	Unhealthy int   // results in a row that take it down; default 3
}

// Event tells that a target went down or came up again.
type Event struct {
	Up     bool
	Target string // its name
	Active bool   // a health check noticed, not a request
	Err    error  // why it went down
}

func (o *Options) complete() error {
	if len(o.Targets) == 0 {
		return errors.New("upstream: no targets")
	}
	switch o.Protocol {
	case "":
		o.Protocol = Auto
	case Auto, HTTP1, HTTP2, H2C:
	default:
		return fmt.Errorf("upstream: unknown protocol %q", o.Protocol)
	}
	o.Attempts = cmp.Or(o.Attempts, 1)
	o.Ejection.For = cmp.Or(o.Ejection.For, 10*time.Second)
	o.Ejection.MaxFor = cmp.Or(o.Ejection.MaxFor, 30*o.Ejection.For)
	h := &o.Health
	h.Method, h.Path = cmp.Or(h.Method, "GET"), cmp.Or(h.Path, "/")
	h.Timeout = min(cmp.Or(h.Timeout, 2*time.Second), cmp.Or(h.Interval, 2*time.Second))
	h.Healthy, h.Unhealthy = cmp.Or(h.Healthy, 2), cmp.Or(h.Unhealthy, 3)
	if !sdk.ValidToken(h.Method) || h.Path[0] != '/' {
		return fmt.Errorf("upstream: health check %q %q: want a method and a path", h.Method, h.Path)
	}
	return nil
}
