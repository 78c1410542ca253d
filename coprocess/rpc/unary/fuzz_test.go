package unary_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

// FuzzFrames: whatever a server sends after its settings, every call ends, and nothing is left behind.
func FuzzFrames(f *testing.F) {
	seed := func(frames func(p *peer)) {
		var b bytes.Buffer
		p := newPeer(f, nil)
		p.f = http2.NewFramer(&b, nil)
		p.f.AllowIllegalWrites = true
		frames(p)
		f.Add(b.Bytes())
	}
	seed(func(p *peer) {
		p.reply(1, "first")
		p.reply(3, "second")
	})
	seed(func(p *peer) {
		p.end(3, append(ok200, "grpc-status", "5", "grpc-message", "no%20")...)
		p.must(p.f.WriteGoAway(1, http2.ErrCodeNo, []byte("debug")))
	})
	seed(func(p *peer) {
		p.must(p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
		p.must(p.f.WriteWindowUpdate(1, 5))
		p.must(p.f.WritePing(false, [8]byte{}))
		p.must(p.f.WriteRSTStream(1, http2.ErrCodeRefusedStream))
		block := p.fields(ok200...)
		p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block[:2], PadLength: 3}))
		p.must(p.f.WriteContinuation(3, true, block[2:]))
		p.must(p.f.WriteDataPadded(3, true, prefixed([]byte("x")), []byte{0, 0}))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		var settings bytes.Buffer
		if err := http2.NewFramer(&settings, nil).WriteSettings(); err != nil {
			t.Fatal(err)
		}
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		greeted := make(chan error, 1)
		go func() {
			_, err := theirs.Write(settings.Bytes())
			greeted <- err
		}()
		c, err := unary.New(t.Context(), ours, unary.Options{Method: method, MaxRecv: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-greeted; err != nil {
			t.Fatal(err)
		}
		first, second := do(t.Context(), c, "first"), do(t.Context(), c, "second")
		unary.AwaitStreams(t, c, 2)
		_, _ = theirs.Write(b) // fails when the connection is given up
		_ = theirs.Close()
		for _, o := range []outcome{<-first, <-second} {
			if o.err == nil && len(o.reply) > 1<<16 {
				t.Errorf("a reply of %d bytes", len(o.reply))
			}
		}
		<-c.Done()
		c.Close()
		<-drained
	})
}
