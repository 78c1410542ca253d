package unary_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

// TestFarDeadline: a deadline beyond what a duration can say is not taken for a near one.
func TestFarDeadline(t *testing.T) {
	c, p := connect(t, unary.Options{})
	ctx, cancel := context.WithDeadline(t.Context(), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
	defer cancel()
	result := do(ctx, c, "q")
	r := p.request()
	if got := r.fields["grpc-timeout"]; got != "2562048H" { // what a time.Duration holds, rounded up
		t.Errorf("got timeout %q", got)
	}
	p.reply(r.stream, "r")
	wantReply(t, result, "r")
}

// TestMessages: what a peer says went wrong is text of bounded length, whatever it sends.
func TestMessages(t *testing.T) {
	for _, tt := range []struct{ name, sent, want string }{
		{"Latin-1", "caf\xe9", "caf\uFFFD"},
		{"escaped Latin-1", "caf%e9", "caf\uFFFD"},
		{"UTF-8 as it is", "café", "café"},
		{"escaped", "a%0Ab", "a\nb"},
		{"cut in an escape", "a%0", "a%0"},
		{"long", strings.Repeat("x", 100_000), strings.Repeat("x", 4096)},
		{"long escapes", strings.Repeat("%78", 30_000), strings.Repeat("x", 4096)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connect(t, unary.Options{})
			result := do(t.Context(), c, "q")
			block := p.fields(append(ok200, "grpc-status", "2", "grpc-message", tt.sent)...)
			stream, first := p.request().stream, min(len(block), 16<<10)
			p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:first], EndStream: true, EndHeaders: first == len(block)}))
			for block = block[first:]; len(block) > 0; {
				n := min(len(block), 16<<10)
				p.must(p.f.WriteContinuation(stream, n == len(block), block[:n]))
				block = block[n:]
			}
			if e := (<-result).failure(t); e.Message != tt.want || !utf8.ValidString(e.Message) {
				t.Errorf("got %.50q of %d bytes, want %.50q of %d", e.Message, len(e.Message), tt.want, len(tt.want))
			}
		})
	}
}

// TestEncodingNamed: a server may name an encoding and not use it, as its flag in front of the message says.
func TestEncodingNamed(t *testing.T) {
	c, p := connect(t, unary.Options{})
	result := do(t.Context(), c, "q")
	stream := p.request().stream
	p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.fields(append(ok200, "grpc-encoding", "gzip")...), EndHeaders: true}))
	p.must(p.f.WriteData(stream, false, prefixed([]byte("plain"))))
	p.end(stream, "grpc-status", "0")
	wantReply(t, result, "plain")
}

// TestTraceFits: of the trace context what the peer's bound on field lists, and one frame, leave room for is sent.
func TestTraceFits(t *testing.T) {
	parent := strings.Repeat("p", 55)
	for _, tt := range []struct {
		name          string
		method        string
		room          uint32
		parent, state string
		wantState     bool
		wantParent    bool
	}{
		{"room", method, 1000, parent, strings.Repeat("s", 100), true, true},
		{"for one", method, 600, parent, strings.Repeat("s", 400), false, true},
		{"for none", method, 420, parent, "s", false, false},
		{"state alone", method, 1000, "", "s", false, false},
		{"all in one frame", "/" + strings.Repeat("m", 3900), 1 << 20, strings.Repeat("p", 4096), strings.Repeat("s", 4096), true, true},
		{"too long", method, 1 << 20, parent, strings.Repeat("s", 4097), false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			ours, theirs := sockets(t)
			p := newPeer(t, theirs)
			p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: tt.room}))
			c, err := unary.New(t.Context(), ours, unary.Options{Method: tt.method, Authority: "test"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			p.greeting()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			call := unary.NewCall()
			call.TraceParent, call.TraceState = tt.parent, tt.state
			result := make(chan outcome, 1)
			go func() {
				reply, err := c.Do(ctx, call)
				result <- outcome{reply, err}
			}()
			p.f.SetMaxReadFrameSize(16 << 10)
			r := p.request()
			size := uint32(0)
			for name, value := range r.fields {
				size += uint32(len(name) + len(value) + 32)
			}
			if size > tt.room && tt.wantParent {
				t.Errorf("sent %d bytes of fields, the peer takes %d", size, tt.room)
			}
			if got := r.fields["traceparent"] != ""; got != tt.wantParent {
				t.Errorf("traceparent was sent: %v", got)
			}
			if got := r.fields["tracestate"] != ""; got != tt.wantState {
				t.Errorf("tracestate was sent: %v", got)
			}
			p.reply(r.stream, "r")
			wantReply(t, result, "r")
		})
	}
}

// TestSilenceLater: a peer that was slow once, answered since and is gone later is found out all the same.
func TestSilenceLater(t *testing.T) {
	c, p := connect(t, unary.Options{PingWait: 500 * time.Millisecond})
	late := func(timeout time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		if o := <-do(ctx, c, "q"); !errors.Is(o.err, context.DeadlineExceeded) {
			t.Errorf("got %v", o.err)
		}
		p.request()
		as[*http2.RSTStreamFrame](p)
	}
	late(20 * time.Millisecond)
	p.must(p.f.WritePing(true, as[*http2.PingFrame](p).Data))
	result := do(t.Context(), c, "q")
	p.reply(p.request().stream, "here")
	wantReply(t, result, "here")
	late(600 * time.Millisecond)
	as[*http2.PingFrame](p)
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
}

// TestPeerStopsReading: a request that cannot be written was not sent; those that were keep their replies.
func TestPeerStopsReading(t *testing.T) {
	c, p := connect(t, unary.Options{})
	held := do(t.Context(), c, "held")
	stream := p.request().stream
	p.must(p.nc.(*net.UnixConn).CloseRead())
	if e := (<-do(t.Context(), c, "q")).failure(t); !e.NotSent || !e.Gone {
		t.Errorf("got %+v, want not sent", e)
	}
	p.reply(stream, "kept")
	wantReply(t, held, "kept")
	<-c.Done()
}
