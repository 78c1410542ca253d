package unary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

// TestRequests: what a request looks like, the first time, later, and with a peer that wants no table.
func TestRequests(t *testing.T) {
	for _, settings := range [][]http2.Setting{nil, {{ID: http2.SettingHeaderTableSize, Val: 0}}} {
		t.Run(fmt.Sprint(len(settings)), func(t *testing.T) {
			c, p := connect(t, unary.Options{UserAgent: "agent", Secure: true}, settings...)
			for _, s := range settings {
				p.dec.SetAllowedMaxDynamicTableSize(s.Val)
			}
			for i := range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				call := unary.NewCall()
				call.Message = []byte("ping")
				if i > 0 {
					call.TraceParent, call.TraceState = "parent", strings.Repeat("s", 200)
				}
				result := make(chan outcome, 1)
				go func() {
					reply, err := c.Do(ctx, call)
					result <- outcome{reply, err}
				}()
				r := p.request()
				if string(r.message) != "ping" || r.stream != uint32(1+2*i) {
					t.Errorf("got %q on stream %d", r.message, r.stream)
				}
				for name, want := range map[string]string{
					":method": "POST", ":scheme": "https", ":path": method, ":authority": "test", "te": "trailers", "user-agent": "agent",
					"content-type": "application/grpc", "grpc-accept-encoding": "identity",
					"traceparent": call.TraceParent, "tracestate": call.TraceState,
				} {
					if got := r.fields[name]; got != want {
						t.Errorf("got %s %q, want %q", name, got, want)
					}
				}
				if d, err := time.ParseDuration(strings.ReplaceAll(r.fields["grpc-timeout"], "m", "ms")); err != nil || d <= 50*time.Second || d > time.Minute {
					t.Errorf("got timeout %q", r.fields["grpc-timeout"])
				}
				p.reply(r.stream, "pong")
				wantReply(t, result, "pong")
			}
		})
	}
}

// TestReplies: what replies mean. Every case is followed by a good call on the same connection.
func TestReplies(t *testing.T) {
	type want struct {
		code    codes.Code
		message string // part of it
		garbage bool
		notSent bool
	}
	headers := func(pairs ...string) func(p *peer, id uint32) {
		return func(p *peer, id uint32) { p.end(id, pairs...) }
	}
	data := func(b []byte, last bool) func(p *peer, id uint32) {
		return func(p *peer, id uint32) {
			p.begin(id)
			p.must(p.f.WriteData(id, last, b))
			if !last {
				p.end(id, "grpc-status", "0")
			}
		}
	}
	reset := func(code http2.ErrCode) func(p *peer, id uint32) {
		return func(p *peer, id uint32) { p.must(p.f.WriteRSTStream(id, code)) }
	}
	for _, tt := range []struct {
		name string
		send func(p *peer, id uint32)
		want *want // nil: a reply
	}{
		{"in pieces", func(p *peer, id uint32) {
			p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(":status", "103"), EndHeaders: true}))
			p.begin(id)
			for _, b := range prefixed([]byte("fine")) {
				p.must(p.f.WriteDataPadded(id, false, []byte{b}, make([]byte, b%7)))
				p.must(p.f.WriteData(id, false, nil))
			}
			block := p.fields("grpc-status", "0", "grpc-message", "")
			p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:1], EndStream: true, PadLength: 9,
				Priority: http2.PriorityParam{StreamDep: 0, Weight: 3}}))
			p.must(p.f.WriteContinuation(id, false, nil))
			p.must(p.f.WriteContinuation(id, true, block[1:]))
		}, nil},
		{"with what nobody knows", func(p *peer, id uint32) {
			p.must(p.f.WriteRawFrame(0xbe, 0xff, id, []byte("?")))
			p.must(p.f.WritePriority(id, http2.PriorityParam{Weight: 1}))
			p.must(p.f.WriteSettings(http2.Setting{ID: 0xabcd, Val: 1}))
			as[*http2.SettingsFrame](p)
			p.must(p.f.WritePing(false, [8]byte{1, 2}))
			if pong := as[*http2.PingFrame](p); !pong.IsAck() || pong.Data != [8]byte{1, 2} {
				p.t.Errorf("got %v", pong)
			}
			p.reply(id, "fine")
		}, nil},
		{"status", headers(append(ok200, "grpc-status", "5", "grpc-message", "no%20such%2fthing%zz%")...), &want{code: codes.NotFound, message: "no such/thing%zz%"}},
		{"status after a message", func(p *peer, id uint32) {
			p.begin(id)
			p.must(p.f.WriteData(id, false, prefixed([]byte("x"))))
			p.end(id, "grpc-status", "8")
		}, &want{code: codes.ResourceExhausted}},
		{"no message", headers(append(ok200, "grpc-status", "0")...), &want{garbage: true, message: "no message"}},
		{"half a message", data(prefixed([]byte("fine"))[:7], false), &want{garbage: true, message: "no message"}},
		{"half a prefix", data([]byte{0, 0}, false), &want{garbage: true, message: "no message"}},
		{"two messages", data(append(prefixed([]byte("a")), prefixed([]byte("b"))...), false), &want{garbage: true, message: "more than one"}},
		{"over the limit", data(prefixed(make([]byte, 1001)), false), &want{code: codes.ResourceExhausted, garbage: true, message: "limit of 1000"}},
		{"compressed", data([]byte{1, 0, 0, 0, 0}, false), &want{garbage: true, message: "compressed"}},
		{"no trailers", data(prefixed([]byte("fine")), true), &want{garbage: true, message: "without trailers"}},
		{"trailers without status", headers(ok200...), &want{garbage: true, message: "without a status"}},
		{"status that is none", headers(append(ok200, "grpc-status", "-1")...), &want{garbage: true, message: `"-1"`}},
		{"no HTTP status", headers("grpc-status", "0"), &want{garbage: true, message: "without status"}},
		{"not gRPC", headers(":status", "200", "content-type", "text/html"), &want{garbage: true, message: "text/html"}},
		{"HTTP 404", headers(":status", "404", "content-type", "text/html"), &want{code: codes.Unimplemented, message: "404 Not Found"}},
		{"HTTP 503", headers(":status", "503"), &want{code: codes.Unavailable, message: "503"}},
		{"HTTP 503 with a body", func(p *peer, id uint32) {
			p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(":status", "503"), EndHeaders: true}))
			p.must(p.f.WriteData(id, true, []byte("try later")))
		}, &want{code: codes.Unavailable}},
		{"data first", func(p *peer, id uint32) { p.must(p.f.WriteData(id, true, []byte("x"))) }, &want{garbage: true, message: "before its headers"}},
		{"headers thrice", func(p *peer, id uint32) {
			p.begin(id)
			p.begin(id)
		}, &want{garbage: true, message: "in the middle"}},
		{"fields over the limit", func(p *peer, id uint32) {
			block := p.fields(append(ok200, "x", strings.Repeat("x", 8000))...) // enters the table only in part
			again := bytes.Repeat(p.fields("y", strings.Repeat("y", 2000)), 1)
			block = append(block, again...)
			for range 200 {
				block = append(block, p.fields("y", strings.Repeat("y", 2000))...)
			}
			p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}))
		}, &want{garbage: true, message: "fields are over the limit"}},
		{"no growth", func(p *peer, id uint32) { p.must(p.f.WriteWindowUpdate(id, 0)) }, &want{garbage: true, message: "grows by nothing"}},
		{"too much growth", func(p *peer, id uint32) { p.must(p.f.WriteWindowUpdate(id, 1<<31-1)) }, &want{garbage: true, message: "too large"}},
		{"refused", reset(http2.ErrCodeRefusedStream), &want{code: codes.Unavailable, notSent: true}},
		{"reset", reset(http2.ErrCodeInternal), &want{code: codes.Internal}},
		{"cancelled", reset(http2.ErrCodeCancel), &want{code: codes.Canceled}},
		{"calm", reset(http2.ErrCodeEnhanceYourCalm), &want{code: codes.ResourceExhausted}},
		{"security", reset(http2.ErrCodeInadequateSecurity), &want{code: codes.PermissionDenied}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connect(t, unary.Options{MaxRecv: 1000})
			result := do(t.Context(), c, "q")
			id := p.request().stream
			tt.send(p, id)
			if tt.want == nil {
				wantReply(t, result, "fine")
			} else {
				o := <-result
				e := o.failure(t)
				code := tt.want.code
				if code == 0 {
					code = codes.Internal
				}
				if e.Code != code || e.Garbage != tt.want.garbage || e.NotSent != tt.want.notSent || !strings.Contains(e.Message, tt.want.message) || o.reply != nil {
					t.Errorf("got %+v, want %+v", e, tt.want)
				}
			}
			result = do(t.Context(), c, "next")
			f := p.next()
			if r, ok := f.(*http2.RSTStreamFrame); ok && r.StreamID == id && tt.want != nil {
				f = p.next()
			}
			if _, err := p.dec.DecodeFull(f.(*http2.HeadersFrame).HeaderBlockFragment()); err != nil {
				t.Fatal(err)
			}
			as[*http2.DataFrame](p)
			p.reply(id+2, "good")
			wantReply(t, result, "good")
		})
	}
}

// TestGarbage: what breaks HTTP/2 ends the connection, and its calls, of which nothing is known.
func TestGarbage(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*peer) {
		return func(p *peer) { p.must(p.f.WriteRawFrame(kind, flags, id, []byte(payload))) }
	}
	for _, tt := range []struct {
		name string
		send func(*peer)
		code http2.ErrCode
	}{
		{"not HTTP/2", func(p *peer) {
			_, err := p.nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			p.must(err)
		}, http2.ErrCodeFrameSize},
		{"frame too large", raw(http2.FrameData, 0, 1, strings.Repeat("x", 16385)), http2.ErrCodeFrameSize},
		{"stream 0", raw(http2.FrameData, 0, 0, "x"), http2.ErrCodeProtocol},
		{"stream of the server's", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x88"), http2.ErrCodeProtocol},
		{"stream to come", raw(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x08"), http2.ErrCodeProtocol},
		{"fields of nonsense", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), http2.ErrCodeCompression},
		{"fields cut short", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x40"), http2.ErrCodeCompression},
		{"fields interrupted", func(p *peer) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(p)
			p.must(p.f.WritePing(false, [8]byte{}))
		}, http2.ErrCodeProtocol},
		{"fields without end", func(p *peer) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(p)
			for range 257 {
				p.must(p.f.WriteContinuation(1, false, nil))
			}
		}, http2.ErrCodeEnhanceYourCalm},
		{"continuation of nothing", raw(http2.FrameContinuation, 0, 1, ""), http2.ErrCodeProtocol},
		{"padding", raw(http2.FrameData, http2.FlagDataPadded, 1, "\x05abc"), http2.ErrCodeProtocol},
		{"padding without length", raw(http2.FrameData, http2.FlagDataPadded, 1, ""), http2.ErrCodeProtocol},
		{"priority cut short", raw(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1, "abc"), http2.ErrCodeProtocol},
		{"push", raw(http2.FramePushPromise, 0, 1, "\x00\x00\x00\x02"), http2.ErrCodeProtocol},
		{"settings of a stream", raw(http2.FrameSettings, 0, 1, ""), http2.ErrCodeProtocol},
		{"settings cut short", raw(http2.FrameSettings, 0, 0, "abc"), http2.ErrCodeFrameSize},
		{"acknowledgement with content", raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "abcdef"), http2.ErrCodeFrameSize},
		{"window in the settings", raw(http2.FrameSettings, 0, 0, "\x00\x04\xff\xff\xff\xff"), http2.ErrCodeFlowControl},
		{"frame size in the settings", raw(http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\x01"), http2.ErrCodeProtocol},
		{"wants push", raw(http2.FrameSettings, 0, 0, "\x00\x02\x00\x00\x00\x01"), http2.ErrCodeProtocol},
		{"ping of odd length", raw(http2.FramePing, 0, 0, "abc"), http2.ErrCodeFrameSize},
		{"ping of a stream", raw(http2.FramePing, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"goaway cut short", raw(http2.FrameGoAway, 0, 0, "abc"), http2.ErrCodeFrameSize},
		{"goaway of a stream", raw(http2.FrameGoAway, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"reset of odd length", raw(http2.FrameRSTStream, 0, 1, "abc"), http2.ErrCodeFrameSize},
		{"window of odd length", raw(http2.FrameWindowUpdate, 0, 0, "abc"), http2.ErrCodeFrameSize},
		{"window grows by nothing", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), http2.ErrCodeProtocol},
		{"window too large", raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), http2.ErrCodeFlowControl},
		{"priority of odd length", raw(http2.FramePriority, 0, 1, "abc"), http2.ErrCodeFrameSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connect(t, unary.Options{})
			result := do(t.Context(), c, "q")
			p.request()
			unary.AwaitWritten(t, c) // nobody can be told while another writes
			tt.send(p)
			e := (<-result).failure(t)
			if e.Code != codes.Unavailable || e.NotSent || !e.Gone {
				t.Errorf("got %+v, want unavailable", e)
			}
			if g := as[*http2.GoAwayFrame](p); g.ErrCode != tt.code {
				t.Errorf("the peer is told %v, want %v", g.ErrCode, tt.code)
			}
			<-c.Done()
			if e := (<-do(t.Context(), c, "q")).failure(t); !e.NotSent || !e.Gone {
				t.Errorf("got %+v, want not sent", e)
			}
		})
	}
}

// TestGoAway: of calls the peer certainly did not process, and those of which that is not known.
func TestGoAway(t *testing.T) {
	c, p := connect(t, unary.Options{})
	first := do(t.Context(), c, "1")
	p.request()
	second := do(t.Context(), c, "2")
	p.request()
	p.must(p.f.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil))
	<-c.Leaving()
	if e := (<-do(t.Context(), c, "3")).failure(t); !e.NotSent || !e.Gone {
		t.Errorf("after GOAWAY: got %+v, want not sent", e)
	}
	p.must(p.f.WriteGoAway(1, http2.ErrCodeNo, []byte("age")))
	if e := (<-second).failure(t); !e.NotSent || !e.Gone || !strings.Contains(e.Message, "NO_ERROR") {
		t.Errorf("beyond the last stream: got %+v, want not sent", e)
	}
	p.reply(1, "one")
	wantReply(t, first, "one")
	<-c.Done() // nothing is left to do
}

func TestPeerEnds(t *testing.T) {
	c, p := connect(t, unary.Options{}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	first := do(t.Context(), c, "1")
	p.request()
	second := do(t.Context(), c, "2")
	unary.AwaitWaiting(t, c, 1)
	_ = p.nc.Close()
	if e := (<-first).failure(t); e.Code != codes.Unavailable || e.NotSent {
		t.Errorf("got %+v, want unavailable", e)
	}
	if e := (<-second).failure(t); !e.NotSent {
		t.Errorf("got %+v, want not sent", e)
	}
	<-c.Done()
}

// TestEnds: deadlines, clients that leave and the connection's own end.
func TestEnds(t *testing.T) {
	c, p := connect(t, unary.Options{}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	late := do(ctx, c, "late")
	r := p.request()
	leaves, leave := context.WithCancel(t.Context())
	left := do(leaves, c, "left")
	p.request()
	waits := do(ctx, c, "waits")
	if o := <-late; !errors.Is(o.err, context.DeadlineExceeded) || unary.NotSent(o.err) {
		t.Errorf("got %v, want a deadline exceeded", o.err)
	}
	if o := <-waits; !errors.Is(o.err, context.DeadlineExceeded) {
		t.Errorf("waiting: got %v, want a deadline exceeded", o.err)
	}
	leave()
	if o := <-left; !errors.Is(o.err, context.Canceled) {
		t.Errorf("got %v, want cancelled", o.err)
	}
	resets, pings := 0, 0
	for resets < 2 {
		switch f := p.next().(type) {
		case *http2.RSTStreamFrame:
			resets++
			if f.ErrCode != http2.ErrCodeCancel {
				t.Errorf("got %v", f)
			}
		case *http2.PingFrame:
			pings++
		case *http2.HeadersFrame: // of the one that waited, if the other's end came first
		case *http2.DataFrame:
		}
	}
	p.reply(r.stream, "too late") // is not taken for another's
	if o := <-do(leaves, c, "gone before"); !errors.Is(o.err, context.Canceled) || !unary.NotSent(o.err) {
		t.Errorf("got %v, want not sent", o.err)
	}
	open := do(t.Context(), c, "open")
	unary.AwaitStreams(t, c, 1)
	c.Close()
	if e := (<-open).failure(t); e.Code != codes.Unavailable {
		t.Errorf("got %+v, want unavailable", e)
	}
}

// TestSilence: a peer that is gone without a word is found out.
func TestSilence(t *testing.T) {
	c, p := connect(t, unary.Options{PingWait: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if o := <-do(ctx, c, "q"); !errors.Is(o.err, context.DeadlineExceeded) {
		t.Errorf("got %v", o.err)
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
	p.request()
	as[*http2.RSTStreamFrame](p)
	as[*http2.PingFrame](p)
}

// TestSlowIsNotSilent: a peer that answers the ping keeps its connection, and is not asked again soon.
func TestSlowIsNotSilent(t *testing.T) {
	c, p := connect(t, unary.Options{PingWait: time.Second})
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if o := <-do(ctx, c, "q"); !errors.Is(o.err, context.DeadlineExceeded) {
			t.Errorf("got %v", o.err)
		}
		cancel()
		p.request()
		as[*http2.RSTStreamFrame](p)
		if i == 0 {
			p.must(p.f.WritePing(true, as[*http2.PingFrame](p).Data))
		}
	}
	result := do(t.Context(), c, "q")
	p.reply(p.request().stream, "here")
	wantReply(t, result, "here")
}

// TestIDsUsedUp: a connection whose stream ids are used up leaves.
func TestIDsUsedUp(t *testing.T) {
	c, p := connect(t, unary.Options{Streams: 2})
	for range 2 {
		result := do(t.Context(), c, "q")
		p.reply(p.request().stream, "r")
		wantReply(t, result, "r")
	}
	<-c.Leaving()
	<-c.Done()
	if e := (<-do(t.Context(), c, "q")).failure(t); !e.NotSent || !e.Gone {
		t.Errorf("got %+v, want not sent", e)
	}
}

// TestLateSettings: a peer may read before it speaks.
func TestLateSettings(t *testing.T) {
	noLeaks(t)
	ours, theirs := sockets(t)
	connected := make(chan *unary.Conn, 1)
	go func() {
		c, err := unary.New(t.Context(), ours, unary.Options{Method: method})
		if err != nil {
			t.Error(err)
		}
		connected <- c
	}()
	p := newPeer(t, theirs)
	if _, err := io.CopyN(io.Discard, theirs, int64(len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	as[*http2.SettingsFrame](p)
	as[*http2.WindowUpdateFrame](p)
	select {
	case <-connected:
		t.Error("did not wait for the settings")
	default:
	}
	p.must(p.f.WriteSettings())
	c := <-connected
	defer c.Close()
	as[*http2.SettingsFrame](p)
	result := do(t.Context(), c, "q")
	p.reply(p.request().stream, "r")
	wantReply(t, result, "r")
}

// TestNoSettings: a peer that says nothing is no peer.
func TestNoSettings(t *testing.T) {
	noLeaks(t)
	ours, _ := sockets(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := unary.New(ctx, ours, unary.Options{Method: method}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ours, theirs := sockets(t)
	if _, err := theirs.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := unary.New(t.Context(), ours, unary.Options{Method: method}); err == nil || !strings.Contains(err.Error(), "SETTINGS") {
		t.Errorf("got %v", err)
	}
	ours, _ = sockets(t)
	if _, err := unary.New(t.Context(), ours, unary.Options{Method: strings.Repeat("x", 10_000)}); err == nil {
		t.Error("took a method of 10,000 bytes")
	}
}
