package front

import (
	"io"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// exchange is a pooled flow with what the front keeps beside it.
type exchange struct {
	flow.Flow
	front  *Front
	client client
	upper  upgrader // client, with Hijack
	body   body
}

func newExchange(f *Front) *exchange {
	e := &exchange{front: f}
	e.client.flow, e.client.body, e.body.flow, e.body.client = &e.Flow, &e.body, &e.Flow, &e.client
	e.upper.client = &e.client
	return e
}

// serveHTTP is net/http's way in.
func (f *Front) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor >= 2 { // whose handlers may outlive their connection
		f.gate.enter()
		defer f.gate.leave()
	}
	e := f.pool.Get().(*exchange)
	if status := e.begin(w, r); status != 0 {
		f.refusals.Add(1)
		refuse(w, r, status)
		e.end()
		return
	}
	defer e.finish(r)
	f.handler.Serve(&e.Flow)
}

// begin fills the flow from the request, or returns the status of its refusal.
func (e *exchange) begin(w http.ResponseWriter, r *http.Request) (status int) {
	f := &e.Flow
	f.Start = time.Now()
	f.Ctx = r.Context()
	e.client.begin(w, r)
	path, query, status := splitTarget(r.Method, r.RequestURI)
	if status != 0 {
		return status
	}
	if !validHost(r.Host) || r.ProtoMajor >= 2 && !wellFormed(r) {
		return http.StatusBadRequest
	}
	from, _ := f.Ctx.Value(socketKey{}).(*socket)
	f.TLS, f.Major = r.TLS, r.ProtoMajor
	f.Peer, f.Local = from.peer, from.local
	e.client.socket = from

	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	client := from.addr
	f.Out.ForwardedHost = r.Host
	if from.trusted {
		client, scheme = e.believe(from.addr, scheme, r.Header)
	}
	f.Out.ForwardedProto = scheme
	f.X.Reset(sdk.Init{Client: client, Backing: f})
	f.X.Request().Fill(sdk.RequestInit{
		Method: r.Method, Scheme: scheme, Host: r.Host, Path: path, Query: query, URI: r.RequestURI,
		Proto: r.Proto, Length: r.ContentLength,
	})
	if !e.fillHeader(r, from.name) {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		e.body.from, e.body.request = r.Body, r
		e.Body = &e.body
	}
	if r.ProtoMajor == 1 {
		f.Client = &e.upper
	} else {
		f.Client = &e.client
	}
	return 0
}

// believe takes from a trusted proxy's word who the client is and how it came.
func (e *exchange) believe(peer netip.AddrPort, scheme string, h http.Header) (netip.AddrPort, string) {
	if s := forwardedProto(h["X-Forwarded-Proto"]); s != "" {
		scheme = s
	}
	if s := forwardedHost(h["X-Forwarded-Host"]); s != "" {
		e.Out.ForwardedHost = s
	}
	return e.front.proxies.client(peer, h["X-Forwarded-For"]), scheme
}

// fillHeader appends the field lines and notes what is of interest here. It reports whether they were not too many.
func (e *exchange) fillHeader(r *http.Request, peer string) bool {
	var chain []string
	h, left := e.X.Request().Header(), e.front.options.MaxFields
	for name, values := range r.Header {
		if left -= len(values); left < 0 {
			return false
		}
		if name == "Host" || name == "Trailer" { // HTTP/2's, which says the same; that of a body that can have none
			continue
		}
		for _, v := range values {
			h.Append(name, v)
		}
		switch name {
		case "X-Forwarded-For":
			chain = values
		case "Expect":
			e.Expect = hasToken(values, "100-continue")
		case "Upgrade":
			e.Upgrade = upgrade(r, values)
		}
	}
	for name := range r.Trailer { // net/http took the announcement away
		h.Append("Trailer", name)
	}
	e.Out.ForwardedFor = appendedFor(chain, peer)
	return true
}

// end gives the exchange back to the pool.
func (e *exchange) end() {
	e.Reset()
	e.client.end()
	e.body.from, e.body.request = nil, nil
	e.body.state.Store(bodyUnread)
	e.body.gone.Store(false)
	e.front.pool.Put(e)
}

// finish ends a request after its handler returned or panicked.
func (e *exchange) finish(r *http.Request) {
	f := e.front
	if p := recover(); p != nil {
		e.panicked(r, p)
		return
	}
	if e.client.hijacked {
		e.drop()
	} else if !e.client.wrote {
		if e.Ctx.Err() != nil || e.body.gone.Load() {
			panic(http.ErrAbortHandler) // nobody is there to be answered
		}
		f.options.Logger.Error("a request was left without reply", "method", e.X.Request().Method(), "route", e.X.Route())
		refuse(e.client.w, r, http.StatusInternalServerError)
	}
	e.end()
}

// panicked ends a request whose handler panicked. The exchange is not used again: who knows who still holds it.
func (e *exchange) panicked(r *http.Request, p any) {
	f := e.front
	if e.client.hijacked {
		e.drop()
	}
	if p != flow.ErrAbort && p != http.ErrAbortHandler { //nolint:errorlint // panic values, compared as such
		f.panics.Add(1)
		f.options.Logger.Error("panic while serving a request", "panic", p, "method", e.X.Request().Method(),
			"path", e.X.Request().Path(), "stack", string(debug.Stack()))
		if !e.client.wrote && !e.client.hijacked {
			refuse(e.client.w, r, http.StatusInternalServerError)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// drop closes a connection that was taken over, which net/http has no eye on any more.
func (e *exchange) drop() {
	if c := e.client.conn; c != nil {
		_ = c.Close()
	}
	e.front.gate.leave()
}

// refuse answers with a status alone and ends an HTTP/1 connection. One of HTTP/2 goes on: its other streams may be those
// of others.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.ProtoMajor < 2 || r.Method == "PRI" { // a preface where HTTP/2 is not spoken comes as a request
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status)+"\n")
}

// hasToken reports whether a list of tokens holds one (RFC 9110 §5.6.1).
func hasToken(lines []string, token string) bool {
	for _, l := range lines {
		for part := range strings.SplitSeq(l, ",") {
			if sdk.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}
