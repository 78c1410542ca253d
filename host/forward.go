package host

import (
	"errors"
	"io"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// rest is the request's path without the listen path, as rules compare it.
func (st *state) rest() string {
	return rules.TrimListenPath(st.f.X.Request().Path(), st.route.listen.Path, true)
}

// upstream sends the request on and runs the response phase on the reply.
func (st *state) upstream() error {
	f := st.f
	x := &f.X
	st.outbound()
	var endSpan func(error)
	if st.span != nil {
		endSpan = st.span.Child(x, "upstream", true)
		x.Request().Header().Replace("Traceparent", x.Trace().Parent)
	}
	err := st.variant.upstream.RoundTrip(f.Ctx, f)
	if endSpan != nil {
		endSpan(err)
	}
	if err != nil {
		return err
	}
	st.answeredBy = "upstream"
	if f.Reply.Upgraded != nil || st.cors.Passthrough {
		return nil
	}
	for _, s := range st.variant.response {
		if err := s.run(st); err != nil {
			return err
		}
	}
	return nil
}

// outbound decides about the target the request is sent to.
func (st *state) outbound() {
	l, f := &st.route.listen, st.f
	q := f.X.Request()
	path := q.Path()
	if l.Strip {
		path = rules.TrimListenPath(path, l.Path, l.KeepSlash)
	}
	if l.Clean {
		path = rules.Clean(path)
	}
	f.Out.Path, f.Out.Query = path, q.Query().Raw()
	if st.route.definition.Upstream.Host == config.HostKeep && f.Out.Host == "" {
		f.Out.Host = q.Host()
	}
	if t := st.variant.timeouts; t != nil {
		f.Out.Timeout = t.Total(q.Method(), st.rest())
	}
}

// send writes the exchange's reply to the client.
func (st *state) send() {
	f := st.f
	r := f.X.Response()
	h := r.Header()
	st.cors.Apply(h)
	defer st.closeReply()
	if f.Reply.Upgraded != nil {
		st.splice()
		return
	}
	dropHopByHop(h)
	st.begun = true
	if r.Buffered() {
		f.Client.WriteHeader(r.Status(), h, int64(len(r.Body())))
		if _, err := f.Client.Write(r.Body()); err != nil {
			st.failure = "client left during the reply"
			return
		}
		st.trailer()
		return
	}
	f.Client.WriteHeader(r.Status(), h, r.Length())
	if f.Reply.Body == nil {
		return
	}
	if err := st.copyBody(r.Length()); err != nil {
		st.failure = firstLine(err.Error())
		if !errors.Is(err, errClient) {
			panic(flow.ErrAbort) // the client must not take a cut reply for a whole one
		}
		return
	}
	st.trailer()
}

func (st *state) trailer() {
	if b := st.f.Reply.Body; b != nil {
		if t := b.Trailer(); t != nil && t.Len() > 0 {
			st.f.Client.WriteTrailer(t)
		}
	}
}

// errClient marks an error of the client's side while the reply is copied.
var errClient = errors.New("client left during the reply")

// copyBody streams the upstream's body. What arrives is flushed when the upstream has nothing more at hand: whole
// replies that fit a buffer leave in one piece, events and trickles at once.
func (st *state) copyBody(length int64) error {
	f := st.f
	if st.copyBuffer == nil {
		st.copyBuffer = make([]byte, 32<<10)
	}
	buf := st.copyBuffer
	left := length
	for {
		n, err := f.Reply.Body.Read(buf)
		if n > 0 {
			if _, werr := f.Client.Write(buf[:n]); werr != nil {
				return errClient
			}
			left -= int64(n)
			if n < len(buf) && err == nil && left != 0 {
				if f.Client.Flush() != nil {
					return errClient
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			if f.Ctx.Err() != nil {
				return errClient
			}
			return err
		}
	}
}

// closeReply gives the upstream's connection back or cuts it.
func (st *state) closeReply() {
	reply := &st.f.Reply
	if reply.Body != nil {
		_ = reply.Body.Close() // the reply has been read or given up: nothing is to be done about an error
	}
	if reply.Upgraded != nil {
		_ = reply.Upgraded.Close()
	}
}

// plain answers what no route serves, without template.
func (st *state) plain(status int, text string) {
	f := st.f
	r := f.X.Response()
	r.Fill(status, 0)
	r.Header().Append("Content-Type", "text/plain; charset=utf-8")
	f.Client.WriteHeader(status, r.Header(), int64(len(text)))
	_, _ = io.WriteString(f.Client, text) // a client that left
}

func dropHopByHop(h *sdk.Header) {
	names := flow.ConnectionNames(h)
	for _, f := range h.Fields() {
		if flow.HopByHop(f.Name) || sdk.EqualFold(f.Name, "Content-Length") || named(names, f.Name) {
			h.Filter(func(f sdk.Field) bool {
				return !flow.HopByHop(f.Name) && !sdk.EqualFold(f.Name, "Content-Length") && !named(names, f.Name)
			})
			return
		}
	}
}

func named(names []string, name string) bool {
	for _, n := range names {
		if sdk.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// cookie returns the value of a cookie (RFC 6265 §4.2.1); "" when there is none.
func cookie(h *sdk.Header, name string) string {
	if name == "" {
		return ""
	}
	for n, v := range h.All() {
		if !sdk.EqualFold(n, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(v, ";") {
			k, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if k == name {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}
