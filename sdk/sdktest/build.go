// Package sdktest runs hooks and observers with no gateway: build an exchange, run a hook on it, look at what it did.
//
//	r := sdktest.Request("GET", "/orders?page=2").Header("Authorization", "Bearer t0ken").Run(t, plugin, sdk.Auth, "CheckToken")
//	if r.Err != nil || r.After.Session.KeyID != "t0ken" { … }
//
// A hook is shown what it says it needs and nothing else, as it would be behind a socket. [CheckWire] goes further and
// proves that a plugin's hooks do the same behind the native protocol as on the exchange itself.
package sdktest

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Builder describes an exchange. Its methods change it and return it, to be chained; it can be run any number of times,
// each time on a new exchange. Header and value checks are the hooks' business: a builder takes what a client can send.
type Builder struct {
	request sdk.RequestInit
	header  []sdk.Field
	body    []byte
	hasBody bool
	reply   *reply
	session *sdk.Session
	values  []sdk.Value
	config  []byte
	route   sdk.Route
	client  netip.AddrPort
	id      string
	trace   sdk.Trace
	peer    []*x509.Certificate
}

type reply struct {
	status int
	header []sdk.Field
	body   []byte
}

// Request begins an exchange with a request as a client on the same machine would send it to http://example.test.
// Target is path and query, as it would stand in the request line.
func Request(method, target string) *Builder {
	path, query, _ := strings.Cut(target, "?")
	return &Builder{
		request: sdk.RequestInit{
			Method: method, Scheme: "http", Host: "example.test", Path: path, Query: query, URI: target, Proto: "HTTP/1.1",
		},
		route:  sdk.Route{ID: "test", Name: "test", ListenPath: "/"},
		client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 54321),
		id:     "test-request",
	}
}

// Header appends a header field to the request.
func (b *Builder) Header(name, value string) *Builder {
	b.header = append(b.header, sdk.Field{Name: name, Value: value})
	return b
}

// Body gives the request a body. Hooks see it when they need it.
func (b *Builder) Body(body string) *Builder {
	b.body, b.hasBody = []byte(body), true
	return b
}

// Host says which host the client asked for.
func (b *Builder) Host(host string) *Builder {
	b.request.Host = host
	return b
}

// Scheme says how the client came: http or https.
func (b *Builder) Scheme(scheme string) *Builder {
	b.request.Scheme = scheme
	return b
}

// Reply is the upstream's reply, for hooks of the response phase.
func (b *Builder) Reply(status int, body string, header ...sdk.Field) *Builder {
	b.reply = &reply{status, slices.Clone(header), []byte(body)}
	return b
}

// Session says who calls. The builder keeps s and hands out copies.
func (b *Builder) Session(s *sdk.Session) *Builder {
	b.session = s
	return b
}

// Value is something an earlier hook left.
func (b *Builder) Value(name, data string) *Builder {
	b.values = append(b.values, sdk.Value{Name: name, Data: []byte(data)})
	return b
}

// Config is the configuration of the hook, JSON; "" for none.
func (b *Builder) Config(json string) *Builder {
	b.config = nil
	if json != "" {
		b.config = []byte(json)
	}
	return b
}

// Route is the route the exchange takes; its ID is "test" otherwise.
func (b *Builder) Route(r sdk.Route) *Builder {
	b.route = r
	return b
}

// Client is the client's address; 127.0.0.1:54321 otherwise.
func (b *Builder) Client(addr netip.AddrPort) *Builder {
	b.client = addr
	return b
}

// RequestID is the exchange's identifier; "test-request" otherwise.
func (b *Builder) RequestID(id string) *Builder {
	b.id = id
	return b
}

// Trace is the trace context.
func (b *Builder) Trace(t sdk.Trace) *Builder {
	b.trace = t
	return b
}

// Peer is the certificate chain the client presented, leaf first.
func (b *Builder) Peer(chain ...*x509.Certificate) *Builder {
	b.peer = chain
	return b
}

// Exchange makes a new exchange, begun for a hook of phase that needs needs: what those do not name is absent. Its log
// lines and counters go to log, which may be nil.
func (b *Builder) Exchange(phase sdk.Phase, needs sdk.Needs, log *Log) *sdk.Exchange {
	x := &sdk.Exchange{}
	if log == nil {
		log = &Log{}
	}
	backing := &backing{log: log}
	route := b.route
	init := sdk.Init{Route: &route, Client: b.client, RequestID: b.id, Backing: backing}
	if needs.Has(sdk.NeedTrace) {
		init.Trace = b.trace
	}
	if needs.Has(sdk.NeedPeer) {
		backing.peer = b.peer
	}
	x.Reset(init)
	b.fillRequest(x.Request(), needs)
	if phase == sdk.ResponsePhase {
		b.fillResponse(x.Response(), needs)
	}
	if needs.Has(sdk.NeedSession) && b.session != nil {
		x.BeginSession(b.session.Clone())
	}
	if needs.Has(sdk.NeedValues) {
		for _, v := range b.values {
			x.BeginValue(v.Name, slices.Clone(v.Data))
		}
	}
	x.Begin(phase, slices.Clone(b.config), true)
	return x
}

func (b *Builder) fillRequest(r *sdk.Request, needs sdk.Needs) {
	init := b.request
	init.Length = int64(len(b.body))
	if !needs.Has(sdk.NeedQuery) {
		init.Query = ""
	}
	r.Fill(init)
	if needs.Has(sdk.NeedHeaders) {
		for _, f := range b.header {
			if wants(needs.HeaderNames, f.Name) {
				r.Header().Append(f.Name, f.Value)
			}
		}
	}
	if needs.Has(sdk.NeedBody) {
		r.LoadBody(slices.Clone(b.body))
	}
}

func (b *Builder) fillResponse(r *sdk.Response, needs sdk.Needs) {
	up := b.reply
	if up == nil {
		up = &reply{status: 200}
	}
	r.Fill(up.status, int64(len(up.body)))
	if needs.Has(sdk.NeedResponseHeaders) {
		for _, f := range up.header {
			r.Header().Append(f.Name, f.Value)
		}
	}
	if needs.Has(sdk.NeedResponseBody) {
		r.LoadBody(slices.Clone(up.body))
	}
}

func wants(names []string, name string) bool {
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return sdk.EqualFold(n, name) })
}

// everything is what a hook sees that does not say what it needs.
func everything() sdk.Needs {
	return sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody | sdk.NeedPeer}
}

// Log is what hooks wrote and counted.
type Log struct {
	Lines    []LogLine
	Counters map[string]int64
}

// LogLine is one line a hook wrote.
type LogLine struct {
	Level   slog.Level
	Message string
}

// Contains reports whether a line's message contains part.
func (l *Log) Contains(part string) bool {
	return slices.ContainsFunc(l.Lines, func(line LogLine) bool { return strings.Contains(line.Message, part) })
}

type backing struct {
	log  *Log
	peer []*x509.Certificate
}

func (b *backing) PeerCertificates() []*x509.Certificate { return b.peer }

func (b *backing) Log(level slog.Level, message string) {
	b.log.Lines = append(b.log.Lines, LogLine{level, message})
}

func (b *backing) Count(name string, delta int64) {
	if b.log.Counters == nil {
		b.log.Counters = map[string]int64{}
	}
	b.log.Counters[name] += delta
}
