package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// running is a server of a test, with a generated client of each protocol.
type running struct {
	server     *Server
	socket     string
	conn       *grpc.ClientConn
	native     pluginv1.PluginClient
	tyk        coprocess.DispatcherClient
	log        *lines
	stop       func() error // ends what Serve was told to live by and returns what it returned
	wantErr    string       // of Serve, at the end of the test
	serveEnded chan struct{}
}

// lines is a log that a test can read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start serves p on a unix socket until the test ends, and checks that it ends without error and leaves no goroutine.
func start(t *testing.T, p *sdk.Plugin, o Options) *running {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	r := &running{socket: filepath.Join(t.TempDir(), "s"), log: &lines{}, serveEnded: make(chan struct{})}
	o.Handover = cmp.Or(o.Handover, 10*time.Millisecond)
	o.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if r.server, err = New(p, o); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), "unix:"+r.socket, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var served error
	go func() {
		defer close(r.serveEnded)
		served = r.server.Serve(ctx, l)
	}()
	r.stop = func() error {
		cancel()
		<-r.serveEnded
		return served
	}
	r.conn, err = grpc.NewClient("unix:"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.native, r.tyk = pluginv1.NewPluginClient(r.conn), coprocess.NewDispatcherClient(r.conn)
	t.Cleanup(func() {
		err := r.stop()
		if r.wantErr == "" && err != nil || r.wantErr != "" && (err == nil || !strings.Contains(err.Error(), r.wantErr)) {
			t.Errorf("Serve returned %v, want %q", err, r.wantErr)
		}
	})
	t.Cleanup(func() { _ = r.conn.Close() }) // first: streams end
	return r
}

// host is a stream of the native protocol, as a simple host without batches uses it.
type host struct {
	t       *testing.T
	stream  grpc.BidiStreamingClient[pluginv1.HostFrame, pluginv1.PluginFrame]
	seq     uint64
	acked   uint64
	credit  uint32
	drained bool
	replies map[uint64]*pluginv1.Reply // not asked for yet
}

// open begins a stream with binding 1 for the hooks of that phase.
func (r *running) open(t *testing.T, phase pluginv1.Phase, hooks ...string) *host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	stream, err := r.native.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, stream: stream, replies: map[uint64]*pluginv1.Reply{}}
	b := &pluginv1.Binding{Id: 1, Phase: phase, Route: &pluginv1.Route{Id: "r", Config: []byte(`{"c":1}`)}}
	for _, name := range hooks {
		b.Hooks = append(b.Hooks, &pluginv1.HookUse{Name: name})
	}
	h.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{b}})
	return h
}

// send sends a frame with the next number.
func (h *host) send(f *pluginv1.HostFrame) {
	h.t.Helper()
	h.seq++
	f.Seq = h.seq
	if err := h.stream.Send(f); err != nil {
		h.t.Fatalf("send: %v", err)
	}
}

// call sends one frame with a call of binding 1 for each id.
func (h *host) call(ids ...uint64) {
	h.t.Helper()
	f := &pluginv1.HostFrame{}
	for _, id := range ids {
		f.Calls = append(f.Calls, callOf(id))
	}
	h.send(f)
}

func callOf(id uint64) *pluginv1.Call {
	return &pluginv1.Call{Id: id, Binding: 1, Method: []byte("GET"), Path: []byte("/x"), Query: []byte("a=1"), RequestId: "id",
		Headers: []*pluginv1.Field{{Name: "Accept", Value: []byte("*/*")}}}
}

// receive takes one frame.
func (h *host) receive() error {
	f, err := h.stream.Recv()
	if err != nil {
		return err
	}
	h.acked = max(h.acked, f.Ack)
	h.drained = h.drained || f.Drain
	if f.Credit > 0 {
		h.credit = f.Credit
	}
	for _, r := range f.Replies {
		if h.replies[r.Id] != nil {
			h.t.Errorf("call %d was answered twice", r.Id)
		}
		h.replies[r.Id] = r
	}
	return nil
}

// until takes frames until done.
func (h *host) until(what string, done func() bool) {
	h.t.Helper()
	for !done() {
		if err := h.receive(); err != nil {
			h.t.Fatalf("while waiting for %s: %v", what, err)
		}
	}
}

// reply waits for the reply to a call.
func (h *host) reply(id uint64) *pluginv1.Reply {
	h.t.Helper()
	h.until("a reply", func() bool { return h.replies[id] != nil })
	return h.replies[id]
}

// end closes the stream as a host does that has no more calls, and returns how it ended.
func (h *host) end() error {
	if err := h.stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := h.receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// one makes a plugin of one hook for all phases.
func one(name string, hook sdk.HookFunc) *sdk.Plugin {
	return &sdk.Plugin{Name: "p", Version: "1.2.3", Hooks: []sdk.HookSpec{{Name: name, Hook: hook}}}
}

// gate is a hook that holds calls to /held until it is opened and lets others pass.
type gate struct {
	entered chan struct{}
	opened  chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 4096), make(chan struct{})} }

func (g *gate) Handle(ctx context.Context, x *sdk.Exchange) error {
	if x.Request().Path() != "/held" {
		return nil
	}
	g.entered <- struct{}{}
	select {
	case <-g.opened:
		x.Request().Header().Set("Held", "1")
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func held(id uint64) *pluginv1.Call {
	c := callOf(id)
	c.Path = []byte("/held")
	return c
}
