package host

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// rest is the request's path without the listen path, as rules compare it.
func (st *state) rest() string { return st.route.below(st.f.X.Request().Path(), true) }

// below is a path without the listen path. One that a hook has put outside the listen path is returned as it is: /ab is
// not below /a where whole segments match.
func (r *Route) below(path string, keepSlash bool) string {
	rest := rules.TrimListenPath(path, r.listen.Path, keepSlash)
	if r.listen.Match != config.MatchPrefix && !strings.HasSuffix(path, rest) {
		return path
	}
	return rest
}

// upstream sends the request on and runs the response phase on the reply.
func (st *state) upstream() error {
	f := st.f
	x := &f.X
	st.outbound()
	var endSpan func(error)
	if st.span != nil {
		endSpan = st.span.Child(x, "upstream", true)
		traced(x)
	}
	err := st.variant.upstream.RoundTrip(f.Ctx, f)
	if endSpan != nil {
		endSpan(err)
	}
	if err != nil {
		return err
	}
	st.answeredBy = "upstream"
	if st.method != "HEAD" && x.Request().Method() == "HEAD" {
		x.Response().LoadBody(nil) // a hook asked for no body: the length is that of one that does not come
	}
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

// traced hands the upstream's span on in place of the client's (W3C Trace Context §3.4).
func traced(x *sdk.Exchange) {
	h, t := x.Request().Header(), x.Trace()
	h.Replace("Traceparent", t.Parent)
	if h.Remove("Tracestate"); t.State != "" {
		h.Append("Tracestate", t.State)
	}
}

// outbound decides about the target the request is sent to.
func (st *state) outbound() {
	l, f := &st.route.listen, st.f
	q := f.X.Request()
	path := q.Path()
	if l.Strip {
		path = st.route.below(path, l.KeepSlash)
	}
	if l.Clean {
		path = rules.Clean(path)
	}
	f.Out.Path, f.Out.Query = path, q.Query().Raw()
	if uri := q.URI(); f.Out.Query == "" && strings.HasSuffix(uri, "?") {
		f.Out.ForceQuery = strings.IndexByte(uri, '?') == len(uri)-1 // an empty query, and not the end of one
	}
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
	if st.replyID != "" {
		h.Replace(st.replyID, f.X.RequestID())
	}
	defer st.closeReply()
	if f.Reply.Upgraded != nil {
		st.splice()
		return
	}
	dropHopByHop(h)
	st.limitHeaders(h)
	st.begun = true
	switch status := r.Status(); {
	case status == 204 || status == 304 || st.method == "HEAD": // whatever a hook made of it, no body follows
		length := r.Length()
		if status == 204 || status == 304 && r.Buffered() {
			length = 0
		}
		f.Client.WriteHeader(status, h, length)
	case r.Buffered():
		st.sendWhole(r)
	default:
		f.Client.WriteHeader(status, h, r.Length())
		if f.Reply.Body == nil {
			return
		}
		if err := st.copyBody(r.Length()); err != nil {
			st.failure = firstLine(err.Error())
			panic(flow.ErrAbort) // whoever is there must not take a cut reply for a whole one
		}
		st.trailer()
	}
}

// sendWhole sends a body that is at hand. Over HTTP/1.1 it leaves in chunks when trailers are to follow.
func (st *state) sendWhole(r *sdk.Response) {
	f, length := st.f, int64(len(r.Body()))
	if f.Major < 2 && st.hasTrailer() {
		length = -1
	}
	f.Client.WriteHeader(r.Status(), r.Header(), length)
	if _, err := f.Client.Write(r.Body()); err != nil {
		st.failure = errClient.Error()
		return
	}
	st.trailer()
}

func (st *state) hasTrailer() bool {
	b := st.f.Reply.Body
	return b != nil && b.Trailer() != nil && b.Trailer().Len() > 0
}

func (st *state) trailer() {
	if st.hasTrailer() {
		st.f.Client.WriteTrailer(st.f.Reply.Body.Trailer())
	}
}

// Why the reply to a client ended early.
var (
	errClient = errors.New("client left")
	errCut    = errors.New("cut: the time to drain was over")
)

// whyLeft says why the client takes no more: because it left, or because we had it leave.
func (st *state) whyLeft() error {
	if st.wasCut() {
		return errCut
	}
	return errClient
}

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
				return st.whyLeft()
			}
			left -= int64(n)
			if err == nil && left != 0 {
				st.hold() // a reply that takes its time
			}
			if n < len(buf) && err == nil && left != 0 {
				if f.Client.Flush() != nil {
					return st.whyLeft()
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			if f.Ctx.Err() != nil || st.wasCut() {
				return st.whyLeft()
			}
			return err
		}
	}
}

// closeReply gives the upstream's connection back or cuts it; trailers go with it.
func (st *state) closeReply() {
	reply := &st.f.Reply
	if reply.Body != nil {
		_ = reply.Body.Close() // the reply has been read or given up: nothing is to be done about an error
	}
	if reply.Upgraded != nil {
		_ = reply.Upgraded.Close()
	}
	reply.Body, reply.Upgraded = nil, nil
}

// plain answers what no route serves, without template, and writes it down.
func (st *state) plain(status int, text string) {
	f := st.f
	r := f.X.Response()
	r.Fill(status, 0)
	r.Header().Append("Content-Type", "text/plain; charset=utf-8")
	f.Client.WriteHeader(status, r.Header(), int64(len(text)))
	_, _ = io.WriteString(f.Client, text) // a client that left
	took := time.Since(f.Start)
	counters := st.gate.unrouted.Shard(st.shard)
	counters.Begin()
	counters.End(status, took, 0, f.BytesIn, f.BytesOut)
	if log := st.gate.options.AccessLog; log != nil {
		log.Write(st.shard, f, &observe.Entry{Method: st.method, Status: status, Took: took, AnsweredBy: st.answeredBy})
	}
}

// dropListed removes from a request what its Connection field lists, and that field, before anybody reads it. Fields that
// hooks add later are not the client's to list: it could have them removed on the way to the upstream.
func dropListed(h *sdk.Header) {
	names := flow.ConnectionNames(h)
	if names == nil {
		return
	}
	h.Filter(func(f sdk.Field) bool {
		return !sdk.EqualFold(f.Name, "Connection") && (flow.HopByHop(f.Name) || !named(names, f.Name))
	})
}

// dropHopByHop removes from a reply what concerns one connection; its length and coding are the front's business.
func dropHopByHop(h *sdk.Header) {
	names := flow.ConnectionNames(h)
	for _, f := range h.Fields() {
		if flow.HopByHop(f.Name) || named(names, f.Name) {
			h.Filter(func(f sdk.Field) bool { return !flow.HopByHop(f.Name) && !named(names, f.Name) })
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
