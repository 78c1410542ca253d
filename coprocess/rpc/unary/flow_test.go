package unary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

// TestWindows: a message is sent as the peer's windows allow, of the stream and of the connection, however they change.
func TestWindows(t *testing.T) {
	c, p := connect(t, unary.Options{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 20_000})
	message := bytes.Repeat([]byte("0123456789"), 20_000) // more than the connection's window
	result := do(t.Context(), c, string(message))
	id := p.headers().stream
	var got []byte
	take := func(n int) {
		t.Helper()
		for want := len(got) + n; len(got) < want; {
			d := as[*http2.DataFrame](p)
			if len(d.Data()) > 20_000 {
				t.Errorf("a frame of %d bytes", len(d.Data()))
			}
			got = append(got, d.Data()...)
			if len(got) > want || d.StreamEnded() != (len(got) == len(message)+5) {
				t.Fatalf("got %d bytes, want %d", len(got), want)
			}
		}
	}
	take(10)
	p.must(p.f.WriteWindowUpdate(id, 3)) // in the middle of a message, and before of its prefix
	take(3)
	p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})) // 10 less than nothing
	as[*http2.SettingsFrame](p)
	p.must(p.f.WriteWindowUpdate(id, 10))
	p.must(p.f.WritePing(false, [8]byte{}))
	as[*http2.PingFrame](p) // and nothing before it
	p.must(p.f.WriteWindowUpdate(id, 1))
	take(1)
	p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	for rest := 65535 - 14; rest > 0; {
		if d, ok := p.next().(*http2.DataFrame); ok {
			got = append(got, d.Data()...)
			rest -= len(d.Data())
		}
	}
	p.must(p.f.WriteWindowUpdate(0, 1<<20))
	take(len(message) + 5 - len(got))
	if !bytes.Equal(unprefixed(t, got), message) {
		t.Error("another message")
	}
	p.reply(id, "thanks")
	wantReply(t, result, "thanks")
}

// TestAnsweredEarly: a peer that answers before it has all of the request gets no more of it.
func TestAnsweredEarly(t *testing.T) {
	c, p := connect(t, unary.Options{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 2})
	result := do(t.Context(), c, "long")
	id := p.headers().stream
	as[*http2.DataFrame](p)
	p.reply(id, "enough")
	wantReply(t, result, "enough")
	if f := as[*http2.RSTStreamFrame](p); f.StreamID != id {
		t.Errorf("got %v", f)
	}
	p.must(p.f.WriteWindowUpdate(id, 100)) // for a stream that has ended
	p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	as[*http2.SettingsFrame](p)
	result = do(t.Context(), c, "short")
	p.reply(p.request().stream, "good")
	wantReply(t, result, "good")
}

// TestConcurrency: no more streams than the peer allows; those that wait begin in order.
func TestConcurrency(t *testing.T) {
	c, p := connect(t, unary.Options{Queue: 2}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
	var results []<-chan outcome
	for i := range 2 {
		results = append(results, do(t.Context(), c, fmt.Sprint(i)))
		unary.AwaitWaiting(t, c, i+1)
	}
	if e := (<-do(t.Context(), c, "2")).failure(t); e.Code != codes.ResourceExhausted || !e.NotSent || e.Gone {
		t.Errorf("got %+v, want a full queue", e)
	}
	p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}))
	as[*http2.SettingsFrame](p)
	for i := range 2 {
		r := p.request()
		if string(r.message) != fmt.Sprint(i) {
			t.Errorf("got call %s, want %d", r.message, i)
		}
		unary.AwaitWaiting(t, c, 1-i)
		p.reply(r.stream, "r")
		wantReply(t, results[i], "r")
	}
}

// TestPeerDoesNotRead: callers are not held by a peer that does not read, what waits is bounded, and the connection is
// good for use when the peer reads again.
func TestPeerDoesNotRead(t *testing.T) {
	c, p := connect(t, unary.Options{PingWait: time.Minute}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	p.must(p.f.WriteWindowUpdate(0, 1<<30))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	message := string(make([]byte, 300<<10))
	var results []<-chan outcome
	for range 20 {
		results = append(results, do(ctx, c, message))
	}
	for _, r := range results {
		if o := <-r; !errors.Is(o.err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline exceeded", o.err)
		}
	}
	if n := c.Pending(); n > 1<<20 {
		t.Errorf("%d bytes wait to be written", n)
	}
	result := do(t.Context(), c, "last")
	streams := map[uint32][]byte{}
	for {
		switch f := p.next().(type) {
		case *http2.HeadersFrame:
			if _, err := p.dec.DecodeFull(f.HeaderBlockFragment()); err != nil {
				t.Fatal(err)
			}
		case *http2.DataFrame:
			streams[f.StreamID] = append(streams[f.StreamID], f.Data()...)
			if !f.StreamEnded() || string(streams[f.StreamID][5:]) != "last" {
				continue
			}
			p.reply(f.StreamID, "good")
			wantReply(t, result, "good")
			return
		}
	}
}

// TestFloods: a peer that has us answer and does not read is given up.
func TestFloods(t *testing.T) {
	for _, tt := range []struct {
		name string
		send func(p *peer) error
	}{
		{"ping", func(p *peer) error { return p.f.WritePing(false, [8]byte{}) }},
		{"settings", func(p *peer) error { return p.f.WriteSettings() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connect(t, unary.Options{})
			for n := 0; tt.send(p) == nil; n++ {
				if n > 10_000_000 {
					t.Fatal("there is no end to it")
				}
			}
			<-c.Done()
		})
	}
}

// TestLargeReplies: more in replies than the connection's window at first.
func TestLargeReplies(t *testing.T) {
	const size = 3 << 20
	c, p := connect(t, unary.Options{})
	message := bytes.Repeat([]byte("x"), size)
	for range 8 {
		result := do(t.Context(), c, "q")
		var r request
		for r.stream == 0 {
			f := p.next()
			if h, ok := f.(*http2.HeadersFrame); ok {
				if _, err := p.dec.DecodeFull(h.HeaderBlockFragment()); err != nil {
					t.Fatal(err)
				}
				as[*http2.DataFrame](p)
				r.stream = h.StreamID
			} else if w, ok := f.(*http2.WindowUpdateFrame); !ok || w.StreamID != 0 || w.Increment < 8<<20 {
				t.Errorf("got %v, want the connection's window to grow, and not by little", f)
			}
		}
		p.begin(r.stream)
		for b := prefixed(message); len(b) > 0; {
			n := min(len(b), 16384)
			p.must(p.f.WriteData(r.stream, false, b[:n]))
			b = b[n:]
		}
		p.end(r.stream, "grpc-status", "0")
		wantReply(t, result, string(message))
	}
}

// TestOverWindow: a peer that sends more than it may.
func TestOverWindow(t *testing.T) {
	c, p := connect(t, unary.Options{MaxRecv: 10})
	result := do(t.Context(), c, "q")
	id := p.request().stream
	p.begin(id)
	p.must(p.f.WriteDataPadded(id, false, prefixed([]byte("x")), nil))
	for range 300 { // padding counts, and the call must not be kept for ever
		if err := p.f.WriteDataPadded(id, false, nil, make([]byte, 255)); err != nil {
			t.Fatal(err)
		}
	}
	if e := (<-result).failure(t); !e.Garbage || e.Gone {
		t.Errorf("got %+v, want garbage", e)
	}
	if f := as[*http2.RSTStreamFrame](p); f.ErrCode != http2.ErrCodeFlowControl {
		t.Errorf("got %v", f)
	}
}

// TestWithoutSocket: a connection that cannot be written to without waiting, as TLS's, has its writer goroutine do it.
func TestWithoutSocket(t *testing.T) {
	noLeaks(t)
	ours, theirs := net.Pipe()
	p := newPeer(t, theirs)
	var greeted sync.WaitGroup
	greeted.Go(func() {
		if _, err := io.CopyN(io.Discard, theirs, int64(len(http2.ClientPreface))); err != nil {
			t.Error(err)
		}
		for range 2 {
			p.next()
		}
		if err := p.f.WriteSettings(); err != nil {
			t.Error(err)
		}
		p.next()
	})
	c, err := unary.New(t.Context(), ours, unary.Options{Method: method, Authority: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	greeted.Wait()
	for range 3 {
		result := do(t.Context(), c, "q")
		p.reply(p.request().stream, "r")
		wantReply(t, result, "r")
	}
	result := do(t.Context(), c, "q") // nobody reads it
	unary.AwaitStreams(t, c, 1)
	c.Close()
	if e := (<-result).failure(t); e.Code != codes.Unavailable {
		t.Errorf("got %+v", e)
	}
}
