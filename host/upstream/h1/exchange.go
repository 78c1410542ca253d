package h1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const (
	inline    = 32 << 10 // bytes of header and buffered body that leave in one write
	inlineTLS = 16 << 10 // the same over TLS, where a write blocks: what one record and any socket buffer holds
	sending   = -1       // conn.deadline while the body leaves
)

// RoundTrip sends the call's request and fills in the flow's response, its Reply.Body or Reply.Upgraded, and its Times.
// Errors are [*outbound.Failure], and then nothing of the request runs on. A connection that turns out dead is replaced
// by another when nothing was sent, or when nothing of a reply came to an idempotent request that is at hand whole (RFC
// 9112 §9.3.1, RFC 9110 §9.2.2).
func (t *Transport) RoundTrip(call *outbound.Call) error {
	out := t.heads.Get().(*buffer)
	defer t.keep(&t.heads, out)
	expect := call.Flow.Expect && !call.Whole
	var err error
	if out.b, err = appendHead(out.b[:0], t.o.Dialer.Target, call, expect); err != nil {
		return &outbound.Failure{Kind: outbound.Request, Err: err}
	}
	limit := inline
	if t.tls != nil {
		limit = inlineTLS
	}
	behind := !call.Whole // the body follows the header from a goroutine of its own
	if call.Whole && len(call.Body) > 0 {
		if behind = len(out.b)+len(call.Body) > limit; !behind {
			out.b = append(out.b, call.Body...)
		}
	}
	again := false
	for {
		c, err := t.acquire(call, again)
		if err != nil {
			return outbound.SentBefore(err, again)
		}
		reused := c.used != 0
		x := exchange{c: c, call: call, expect: expect, behind: behind}
		failure := x.run(out.b)
		if failure == nil {
			return nil
		}
		failure.Sent = failure.Sent || again
		switch {
		case !reused || failure.Kind != outbound.Reset:
			return failure
		case !failure.Sent: // stale; the next one, or a new one
		case again || c.heard || !call.Whole || !outbound.Idempotent(call.Flow.X.Request().Method()):
			return failure
		default:
			again = true
		}
	}
}

// acquire returns an unused connection, or a new one; with fresh always a new one.
func (t *Transport) acquire(call *outbound.Call, fresh bool) (*conn, error) {
	c, home := t.pool.get()
	if c != nil && !fresh {
		return c, nil
	}
	if c != nil {
		if !t.pool.put(c) {
			t.discard(c)
		}
	}
	c, err := t.dial(call)
	if err != nil {
		return nil, err
	}
	c.home = home
	return c, nil
}

// An exchange is one attempt on one connection.
type exchange struct {
	c      *conn
	call   *outbound.Call
	expect bool
	behind bool
	sender *sender
}

// run sends the request whose header is out and reads the reply's header. The connection is settled afterwards: given
// back, or in the hands of the reply's body.
func (x *exchange) run(out []byte) *outbound.Failure {
	c, f := x.c, x.call.Flow
	c.begin(x.call)
	c.in, c.r, c.w, c.sent, c.heard, c.early, c.fault = nil, 0, 0, 0, false, false, nil
	f.Times.Sent = time.Now()
	if h := c.t.o.Header; h > 0 && !x.behind {
		c.deadline.Store(c.t.sweeper.at(f.Times.Sent.Add(h)))
	}
	err := x.send(out)
	if err == nil {
		err = x.reply()
	}
	if err == nil {
		return nil
	}
	failure := c.failed(c.sent > 0, err)
	x.sender.finish(0)
	c.t.keep(&c.t.in, c.in)
	c.in, c.out = nil, nil
	c.end(false)
	return failure
}

// send writes the header, and waits for the first bytes of the reply when nothing follows it.
func (x *exchange) send(out []byte) error {
	c := x.c
	c.out, c.stage, c.await = out, probing, !x.behind && !x.expect
	if !c.plain {
		c.stage = looking
	}
	// What comes on a new TLS connection are its session tickets (RFC 8446 §4.6.1), nobody's reply.
	if c.plain || c.used != 0 {
		err := c.raw.Read(c.step)
		if err == nil {
			err = c.fault
		}
		if err != nil {
			return err
		}
	}
	if !c.plain {
		c.sent = len(out) // how much of it has left as records nobody knows
		if _, err := c.nc.Write(out); err != nil {
			return err
		}
	}
	rest := out[c.sent:]
	c.out = nil
	if x.expect && len(rest) == 0 {
		c.patience(time.Now().Add(c.t.o.Continue))
		return nil
	}
	x.expect = false
	if x.behind || len(rest) > 0 {
		x.follow(rest)
	}
	return nil
}

// follow starts sending what is behind the header, and rest of the header itself.
func (x *exchange) follow(rest []byte) {
	x.c.deadline.Store(sending)
	x.sender = startSender(x.c, x.call, rest, x.behind)
}

// reply reads up to the final reply's header and hands it over.
func (x *exchange) reply() error {
	c := x.c
	for interim := 0; ; interim++ {
		err := c.readHead()
		if x.expect && errors.Is(err, os.ErrDeadlineExceeded) && c.why(nil) == nil {
			x.proceed() // no answer: the target may not know Expect
			err = c.readHead()
		}
		if err != nil {
			return err
		}
		switch h := &c.head; {
		case h.status == 101:
			return x.switched()
		case h.status >= 200:
			return x.accept()
		case interim >= c.t.o.MaxInterim:
			return &garbageError{fmt.Errorf("more than %d interim replies", interim)}
		case h.status == 100:
			x.proceed()
		default:
			err = x.inform()
		}
		if err != nil {
			return err
		}
	}
}

// proceed begins to send the body that an Expect held back.
func (x *exchange) proceed() {
	if x.expect {
		x.expect = false
		x.c.patience(time.Time{})
		x.follow(nil)
	}
}

// inform passes an interim reply on. 100 is not: the front sends one when the body is read.
func (x *exchange) inform() error {
	informer, ok := x.call.Flow.Client.(flow.Informer)
	if !ok {
		return nil
	}
	var h sdk.Header
	forward(&h, &x.c.head)
	if err := informer.WriteInfo(x.c.head.status, &h); err != nil {
		return &outbound.Failure{Kind: outbound.Canceled, Err: fmt.Errorf("interim reply: %w", err)}
	}
	return nil
}

// forward copies the reply's fields without the hop-by-hop ones.
func forward(to *sdk.Header, h *head) {
	var named []string
	if h.named {
		var all sdk.Header
		for _, f := range h.fields {
			all.Append(f.Name, f.Value)
		}
		named = flow.ConnectionNames(&all)
	}
	for _, f := range h.fields {
		if !flow.HopByHop(f.Name) && !outbound.Listed(named, f.Name) {
			to.Append(f.Name, f.Value)
		}
	}
}

// fill hands status and header to the exchange.
func (x *exchange) fill(length int64) {
	c, f := x.c, x.call.Flow
	f.Times.Header = time.Now()
	c.used = c.t.sweeper.at(f.Times.Header)
	c.deadline.Store(0)
	r := f.X.Response()
	r.Fill(c.head.status, length)
	if c.head.status == 101 { // Upgrade is hop-by-hop, and what this reply is about
		for _, field := range c.head.fields {
			r.Header().Append(field.Name, field.Value)
		}
	} else {
		forward(r.Header(), &c.head)
	}
	clear(c.head.fields)
	c.head.fields, c.head.upgrade = c.head.fields[:0], ""
}

// accept hands the final reply over.
func (x *exchange) accept() error {
	c := x.c
	if x.expect { // the target refused the body: it is never sent, and the connection is of no more use
		c.patience(time.Time{})
	}
	b, length := c.take(x.call.Flow.X.Request().Method(), x.sender, !x.expect)
	x.fill(length)
	x.call.Flow.Reply.Body = b
	if x.sender == nil && !b.chunked && b.left >= 0 && b.left <= int64(b.w-b.r) {
		b.settle() // all of it has come
	}
	return nil
}

// take settles how the body behind c.head is framed (RFC 9112 §6.3). It returns the length to tell as well, which is not
// always that of what follows.
func (c *conn) take(method string, s *sender, clean bool) (*body, int64) {
	h := &c.head
	b := &body{t: c.t, c: c, in: c.in, r: c.r, w: c.w, left: h.length, sender: s, clean: clean && !h.close && !c.early}
	c.in = nil
	length := h.length
	switch {
	case method == "HEAD" || h.status == 304:
		b.left = 0
	case h.status == 204:
		b.clean = b.clean && h.length <= 0 // one that declares a body may send it
		b.left, length = 0, 0
	case h.chunked:
		b.chunked, b.left = true, 0
	case h.length < 0:
		b.clean = false // until the connection ends
	}
	return b, length
}

// switched hands the connection over after a 101 (RFC 9110 §15.2.2).
func (x *exchange) switched() error {
	c, f := x.c, x.call.Flow
	if f.Upgrade == "" || x.sender != nil || x.expect {
		return &garbageError{fmt.Errorf("101 to a request that asked for no other protocol")}
	}
	for part := range strings.SplitSeq(c.head.upgrade, ",") {
		if part = strings.TrimSpace(part); part == "" || !outbound.HasToken(f.Upgrade, part) {
			return &garbageError{fmt.Errorf("101 switches to %q, asked for was %q", clip(c.head.upgrade), clip(f.Upgrade))}
		}
	}
	x.fill(0)
	f.Reply.Upgraded = &upgraded{c: c, early: c.in.b[c.r:c.w]}
	c.in = nil
	return nil
}

// readHead reads one head into c.head.
func (c *conn) readHead() error {
	s := scan{}
	c.receive()
	for {
		n, err := s.find(c.in.b[c.r:c.w], c.t.o.MaxHeaderFields)
		switch {
		case err != nil:
			return &garbageError{err}
		case n > c.t.o.MaxHeaderBytes, n == 0 && c.w-c.r >= c.t.o.MaxHeaderBytes:
			return &garbageError{fmt.Errorf("header over %d bytes", c.t.o.MaxHeaderBytes)}
		case n > 0:
			c.head.fields = c.head.fields[:0]
			block := string(c.in.b[c.r : c.r+n])
			c.r += n
			if err := c.head.parse(block, s.first); err != nil {
				return &garbageError{err}
			}
			return nil
		}
		c.in, c.r, c.w = room(c.in, c.r, c.w)
		got, err := c.nc.Read(c.in.b[c.w:])
		c.w += got
		if got > 0 {
			c.heard = true
			continue
		}
		if err == io.EOF && c.w > c.r {
			return &garbageError{fmt.Errorf("connection closed within the header: %w", io.ErrUnexpectedEOF)}
		}
		if err != nil {
			return err
		}
	}
}
