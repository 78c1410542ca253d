package nethttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// newRequest makes net/http's request of the call, as [flow.Outbound] describes it. The gate is nil when the body is at
// hand whole.
func newRequest(ctx context.Context, target *outbound.Target, call *outbound.Call) (*http.Request, *gate, error) {
	f := call.Flow
	r := f.X.Request()
	path := string(target.AppendPath(nil, f.Out.Path))
	if whole := path + f.Out.Query; strings.ContainsFunc(whole, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, nil, fmt.Errorf("request target %q has a blank or control character (RFC 9110 §7.1)", path)
	}
	if !sdk.ValidToken(r.Method()) {
		return nil, nil, fmt.Errorf("method %q is no token (RFC 9110 §9.1)", r.Method())
	}
	req := (&http.Request{
		Method: r.Method(), URL: address(target, path, &f.Out), Host: f.Out.Host, Header: make(http.Header, r.Header().Len()+4),
		ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if req.Host == "" {
		req.Host = target.Host
	}
	if err := fill(req.Header, f); err != nil {
		return nil, nil, err
	}
	if call.Whole {
		if len(call.Body) > 0 {
			body := append([]byte(nil), call.Body...) // net/http may read on after it returned
			req.ContentLength = int64(len(body))
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
			req.Body, _ = req.GetBody()
		}
		return req, nil, nil
	}
	if f.Expect {
		req.Header.Set("Expect", "100-continue")
	}
	req.ContentLength = r.Length()
	g := &gate{from: f.Body, left: r.Length()}
	for _, h := range r.Header().Fields() {
		if sdk.EqualFold(h.Name, "Trailer") {
			for name := range strings.SplitSeq(h.Value, ",") {
				if name = strings.TrimSpace(name); sdk.ValidToken(name) && outbound.TrailerAllowed(name) {
					if req.Trailer == nil {
						req.Trailer, req.ContentLength = http.Header{}, -1
					}
					req.Trailer[http.CanonicalHeaderKey(name)] = nil
				}
			}
		}
	}
	g.trailer = req.Trailer
	req.Body = g
	return req, g, nil
}

// fill writes the request's fields into h.
func fill(h http.Header, f *flow.Flow) error {
	r := f.X.Request()
	named := flow.ConnectionNames(r.Header())
	for _, field := range r.Header().Fields() {
		if outbound.Own(field.Name) || outbound.Listed(named, field.Name) {
			continue
		}
		if !sdk.ValidToken(field.Name) || !sdk.ValidFieldValue(field.Value) {
			return fmt.Errorf("field %q cannot be sent (RFC 9110 §5.5)", field.Name)
		}
		h.Add(field.Name, field.Value)
	}
	set(h, "X-Forwarded-For", f.Out.ForwardedFor)
	set(h, "X-Forwarded-Host", f.Out.ForwardedHost)
	set(h, "X-Forwarded-Proto", f.Out.ForwardedProto)
	if outbound.WantsTrailers(r.Header()) {
		h.Set("TE", "trailers")
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // none of net/http's own
	}
	return nil
}

func set(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// address is a URL that net/http sends as it is: the path stands in Opaque, where nothing is encoded anew. A path with
// two slashes in front would be taken for a host there, so it goes with its own host before it, which HTTP/2 takes off.
func address(target *outbound.Target, path string, out *flow.Outbound) *url.URL {
	u := &url.URL{Scheme: target.Scheme(), Host: target.Host, RawQuery: out.Query, ForceQuery: out.ForceQuery, Opaque: path}
	if strings.HasPrefix(path, "//") {
		u.Opaque = ""
		if decoded, err := url.PathUnescape(path); err == nil {
			u.Path, u.RawPath = decoded, path
		}
		if u.EscapedPath() != path {
			u.Opaque = "//" + target.Host + path
		}
	}
	return u
}

// A gate hands the client's body to net/http, which reads it on goroutines of its own and may want to read on after it
// has returned. Once shut, nothing is read any more.
type gate struct {
	mu      sync.Mutex // held while a read is under way
	from    flow.Body
	left    int64       // bytes until the declared length, -1 when none was declared
	trailer http.Header // announced names, filled in at the end
	shut    bool
	reading atomic.Bool
	failed  atomic.Pointer[outbound.Failure] // what ended the body, not io.EOF
}

// Read reads from the client.
func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
		return 0, errShut
	case g.failed.Load() != nil:
		return 0, g.failed.Load()
	}
	g.reading.Store(true)
	n, err := g.from.Read(p)
	g.reading.Store(false)
	if g.left >= 0 {
		g.left -= int64(n)
		switch {
		case g.left < 0:
			err = fmt.Errorf("request body is longer than its Content-Length")
		case g.left > 0 && err == io.EOF:
			err = fmt.Errorf("request body ended %d bytes before its Content-Length: %w", g.left, io.ErrUnexpectedEOF)
		}
		if g.left < 0 {
			n, g.left = 0, 0
		}
	}
	switch {
	case err == io.EOF:
		g.fillTrailer()
	case err != nil:
		failure := &outbound.Failure{Kind: outbound.Client, Err: fmt.Errorf("request body: %w", err)}
		g.failed.Store(failure)
		return n, failure
	}
	return n, err
}

func (g *gate) fillTrailer() {
	t := g.from.Trailer()
	if t == nil {
		return
	}
	for _, f := range t.Fields() {
		key := http.CanonicalHeaderKey(f.Name)
		if _, announced := g.trailer[key]; announced && sdk.ValidFieldValue(f.Value) {
			g.trailer[key] = append(g.trailer[key], f.Value)
		}
	}
}

// Close is net/http's; the body is the front's to close.
func (g *gate) Close() error { return nil }

// failure returns what ended the body, nil when nothing did. It does not wait for a read under way.
func (g *gate) failure() *outbound.Failure {
	if g == nil {
		return nil
	}
	return g.failed.Load()
}

// waits reports whether the client's next bytes are awaited.
func (g *gate) waits() bool { return g != nil && g.reading.Load() }

// close shuts the gate and waits for a read under way, which closing the body ends.
func (g *gate) close() {
	if g == nil {
		return
	}
	if !g.mu.TryLock() {
		g.from.Close()
		g.mu.Lock()
	}
	g.shut = true
	g.mu.Unlock()
}
