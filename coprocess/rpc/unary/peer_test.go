package unary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

const method = "/test.Service/Method"

// noLeaks checks, when everything else is cleaned up, that no goroutine stayed behind.
func noLeaks(t testing.TB) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

// sockets returns the two ends of a connection.
func sockets(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return ours, theirs
}

// peer is a server that does, frame by frame, what a test says.
type peer struct {
	t   testing.TB
	nc  net.Conn
	f   *http2.Framer
	out bytes.Buffer
	enc *hpack.Encoder
	dec *hpack.Decoder
}

// connect returns a connection and its peer, which has sent the settings.
func connect(t testing.TB, o unary.Options, settings ...http2.Setting) (*unary.Conn, *peer) {
	t.Helper()
	noLeaks(t)
	ours, theirs := sockets(t)
	p := newPeer(t, theirs)
	if err := p.f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	o.Method, o.Authority = method, "test"
	c, err := unary.New(t.Context(), ours, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p.greeting()
	return c, p
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	p := &peer{t: t, nc: nc, f: http2.NewFramer(nc, nc)}
	p.enc = hpack.NewEncoder(&p.out)
	p.dec = hpack.NewDecoder(4096, nil)
	p.f.AllowIllegalReads, p.f.AllowIllegalWrites = true, true
	return p
}

// greeting reads the preface, the settings, the window and, in any order, the acknowledgement of ours.
func (p *peer) greeting() {
	p.t.Helper()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.nc, preface); err != nil || string(preface) != http2.ClientPreface {
		p.t.Fatalf("got preface %q, %v", preface, err)
	}
	for range 3 {
		switch f := p.next().(type) {
		case *http2.SettingsFrame, *http2.WindowUpdateFrame:
		default:
			p.t.Fatalf("got %v", f)
		}
	}
}

func (p *peer) next() http2.Frame {
	p.t.Helper()
	if err := p.nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	f, err := p.f.ReadFrame()
	if err != nil {
		p.t.Fatalf("peer reads: %v", err)
	}
	return f
}

// as reads the next frame, which must be of type F.
func as[F http2.Frame](p *peer) F {
	p.t.Helper()
	f := p.next()
	want, ok := f.(F)
	if !ok {
		p.t.Fatalf("got %v, want a %T", f, want)
	}
	return want
}

// request is what the peer got.
type request struct {
	stream  uint32
	fields  map[string]string
	message []byte
}

// headers reads the start of a request.
func (p *peer) headers() request {
	p.t.Helper()
	h := as[*http2.HeadersFrame](p)
	fields, err := p.dec.DecodeFull(h.HeaderBlockFragment())
	if err != nil {
		p.t.Fatal(err)
	}
	r := request{stream: h.StreamID, fields: map[string]string{}}
	for _, f := range fields {
		r.fields[f.Name] = f.Value
	}
	return r
}

// request reads a request in one DATA frame.
func (p *peer) request() request {
	p.t.Helper()
	r := p.headers()
	d := as[*http2.DataFrame](p)
	if !d.StreamEnded() || d.StreamID != r.stream {
		p.t.Fatalf("got %v", d)
	}
	r.message = unprefixed(p.t, bytes.Clone(d.Data()))
	return r
}

func unprefixed(t testing.TB, b []byte) []byte {
	t.Helper()
	if len(b) < 5 || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-5 {
		t.Fatalf("got message %q", b)
	}
	return b[5:]
}

func prefixed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func (p *peer) fields(pairs ...string) []byte {
	p.t.Helper()
	p.out.Reset()
	for i := 0; i < len(pairs); i += 2 {
		if err := p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}); err != nil {
			p.t.Fatal(err)
		}
	}
	return bytes.Clone(p.out.Bytes())
}

var ok200 = []string{":status", "200", "content-type", "application/grpc"}

func (p *peer) begin(stream uint32) {
	p.t.Helper()
	p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.fields(ok200...), EndHeaders: true}))
}

func (p *peer) end(stream uint32, pairs ...string) {
	p.t.Helper()
	p.must(p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.fields(pairs...), EndHeaders: true, EndStream: true}))
}

// reply answers a request.
func (p *peer) reply(stream uint32, message string) {
	p.t.Helper()
	p.begin(stream)
	p.must(p.f.WriteData(stream, false, prefixed([]byte(message))))
	p.end(stream, "grpc-status", "0")
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("peer writes: %v", err)
	}
}

// outcome is how a call ended.
type outcome struct {
	reply []byte
	err   error
}

// do begins a call.
func do(ctx context.Context, c *unary.Conn, message string) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		call := unary.NewCall()
		call.Message = []byte(message)
		reply, err := c.Do(ctx, call)
		result <- outcome{reply, err}
	}()
	return result
}

func (o outcome) failure(t testing.TB) *unary.Error {
	t.Helper()
	var e *unary.Error
	if !errors.As(o.err, &e) {
		t.Fatalf("got %v, want an Error", o.err)
	}
	return e
}

func wantReply(t testing.TB, result <-chan outcome, want string) {
	t.Helper()
	if o := <-result; o.err != nil || string(o.reply) != want {
		t.Errorf("got %.100q, %v, want %.100q", o.reply, o.err, want)
	}
}
