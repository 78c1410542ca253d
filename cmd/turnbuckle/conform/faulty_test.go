package conform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// fault spoils what a good server says.
type fault struct {
	name  string
	run   string // which cases are looked at
	want  string // one that must find it
	res   report.Result
	frame func(f *pluginv1.PluginFrame) bool // false: it is not sent
	hears func(f *pluginv1.HostFrame)        // what it makes of the host's frames
	tyk   func(o *tykpb.Object) error

	patience time.Duration
}

func faults() []fault {
	each := func(do func(r *pluginv1.Reply)) func(*pluginv1.PluginFrame) bool {
		return func(f *pluginv1.PluginFrame) bool {
			for _, r := range f.Replies {
				do(r)
			}
			return true
		}
	}
	effects := func(do func(e *pluginv1.Effects)) func(*pluginv1.PluginFrame) bool {
		return each(func(r *pluginv1.Reply) {
			if r.Effects != nil {
				do(r.Effects)
			}
		})
	}
	return []fault{
		{name: "no credit", run: "frames/credit", want: "frames/credit", frame: func(f *pluginv1.PluginFrame) bool { f.Credit = 0; return true }},
		{name: "acknowledges first", run: "frames/credit", want: "frames/credit", frame: func(f *pluginv1.PluginFrame) bool { f.Ack = max(f.Ack, 1); return true }},
		{name: "never acknowledges", run: "frames/batch", want: "frames/batch", frame: func(f *pluginv1.PluginFrame) bool { f.Ack = 0; return true }},
		{name: "acknowledges the future", run: "frames/batch", want: "frames/batch", frame: func(f *pluginv1.PluginFrame) bool {
			if f.Ack > 0 {
				f.Ack += 7
			}
			return true
		}},
		{name: "confuses calls", run: "frames/batch", want: "frames/batch", frame: each(func(r *pluginv1.Reply) { r.Id += 1000 })},
		{name: "answers twice", run: "frames/batch", want: "frames/batch", frame: func(f *pluginv1.PluginFrame) bool { f.Replies = append(f.Replies, f.Replies...); return true }},
		{name: "calls the unknown a failure", run: "frames/unknown", want: "frames/unknown-hook", frame: each(func(r *pluginv1.Reply) {
			if r.Failure != nil {
				r.Failure.Code = pluginv1.FailureCode_FAILURE_CODE_FAILED
			}
		})},
		{name: "has no outcomes", run: "calls/outcomes", want: "calls/outcomes", frame: each(func(r *pluginv1.Reply) { r.Outcomes = nil })},
		{name: "knows no cancel", run: "calls/cancel", want: "calls/cancel", res: report.Warn, hears: func(f *pluginv1.HostFrame) { f.Cancels = nil }},
		{name: "knows no deadline", run: "calls/timeout", want: "calls/timeout", res: report.Warn, hears: func(f *pluginv1.HostFrame) {
			for _, c := range f.Calls {
				c.TimeoutUs = 0
			}
		}},
		{name: "ignores drain", run: "frames/host-drain", want: "frames/host-drain", hears: func(f *pluginv1.HostFrame) { f.Drain = false }},
		{name: "loses bindings", run: "frames/rebinding", want: "frames/rebinding", hears: func(f *pluginv1.HostFrame) { f.Bindings = nil }},
		{name: "loses repeated headers", run: "effects/sees-lines", want: "effects/sees-lines", hears: func(f *pluginv1.HostFrame) {
			for _, c := range f.Calls {
				c.Headers = c.Headers[:1]
			}
		}},
		{name: "adds in place of setting", run: "effects/set-headers", want: "effects/set-headers", frame: effects(func(e *pluginv1.Effects) {
			for _, h := range e.Headers {
				h.Kind = pluginv1.HeaderOpKind_HEADER_OP_KIND_ADD
			}
		})},
		{name: "drops an empty body", run: "effects/no-body", want: "effects/no-body", frame: effects(func(e *pluginv1.Effects) { e.Body = nil })},
		{name: "drops the reply's status", run: "effects/reply", want: "effects/reply", frame: effects(func(e *pluginv1.Effects) { e.Status = nil })},
		{name: "forgets the identity", run: "effects/authenticate", want: "effects/authenticate", frame: effects(func(e *pluginv1.Effects) { e.Session = nil })},
		{name: "keeps what it is told to drop", run: "effects/clear", want: "effects/clear-session", frame: effects(func(e *pluginv1.Effects) { e.ClearSession = false })},
		{name: "refuses with another text", run: "effects/refuse", want: "effects/refuse", frame: each(func(r *pluginv1.Reply) {
			if r.Error != nil {
				r.Error.Message = "no"
			}
		})},
		{name: "logs for the first hook", run: "effects/group-notes", want: "effects/group-notes", frame: each(func(r *pluginv1.Reply) {
			for _, l := range r.Logs {
				l.Hook = 0
			}
		})},
		{name: "keeps the effects of a failure", run: "effects/fail", want: "effects/fail", frame: each(func(r *pluginv1.Reply) {
			r.Effects = &pluginv1.Effects{Headers: []*pluginv1.HeaderOp{{Kind: 1, Name: "X-Mark", Value: []byte("done")}}}
		})},
		{name: "passes no records on", run: "server/observer", want: "server/observer", hears: func(f *pluginv1.HostFrame) { f.Records = nil }},
		{name: "changes headers in place", run: "tyk/set-headers", want: "tyk/set-headers", tyk: func(o *tykpb.Object) error { o.Request.SetHeaders = nil; return nil }},
		{name: "returns no request", run: "tyk/echo", want: "tyk/echo", tyk: func(o *tykpb.Object) error { o.Request = nil; return nil }},
		{name: "loses the reply's headers", run: "tyk-effects/reply", want: "tyk-effects/reply-kept", tyk: func(o *tykpb.Object) error {
			if o.Response != nil {
				o.Response.MultivalueHeaders = o.Response.MultivalueHeaders[:1]
			}
			return nil
		}},
		{name: "fails", run: "tyk/many", want: "tyk/many", tyk: func(*tykpb.Object) error { return status.Error(codes.Internal, "no") }},
	}
}

// The kit finds what is wrong.
func TestFaultyServers(t *testing.T) {
	good := goodServer(t)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if f.res == "" {
				f.res = report.Fail
			}
			f.patience = time.Second
			if f.res == report.Warn {
				f.patience = 8 * time.Second // the hook sleeps to its end
			}
			r, err := Run(t.Context(), Options{Options: kit.Options{Address: spoil(t, good, f), Patience: f.patience}, Run: f.run, Quick: true})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(r.Cases, func(c report.Finding) bool { return c.ID == f.want })
			if i < 0 || r.Cases[i].Result != f.res || len(r.Cases[i].Details) == 0 {
				t.Errorf("got %+v, want %s to find %s", r.Cases, f.want, f.res)
			}
		})
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func goodServer(t *testing.T) *grpc.ClientConn {
	t.Helper()
	l := listen(t)
	s, err := serve.New(conformance.Plugin(), serve.Options{Logger: slog.New(slog.DiscardHandler), Drain: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(t.Context()), l) }()
	at, err := kit.PlaceOf("unix:"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := at.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(), s.Shutdown(context.WithoutCancel(t.Context())), <-done); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// spoil serves what the good server says, with the fault in it, and returns where.
func spoil(t *testing.T, good *grpc.ClientConn, f fault) string {
	t.Helper()
	l := listen(t)
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawcodec.New()), grpc.MaxRecvMsgSize(2*kit.MessageBytes), grpc.UnknownServiceHandler(func(_ any, down grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(down)
		ctx, cancel := context.WithCancel(down.Context())
		defer cancel()
		up, err := good.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		defer func() {
			cancel()
			<-ended
		}()
		go func() {
			defer close(ended)
			pass(up, down, func(b []byte) ([]byte, error) { return f.onFrame(method, b) })
		}()
		for {
			var in rawcodec.In
			if err := up.RecvMsg(&in); err != nil {
				if status.Code(err) == codes.Unknown { // io.EOF
					return nil
				}
				return err
			}
			b, err := f.onReply(method, in.Data)
			if err != nil {
				return err
			}
			if err := down.SendMsg(out(b)); err != nil {
				return err
			}
		}
	}))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return "unix:" + l.Addr().String()
}

func out(b []byte) *rawcodec.Out { return &rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}} }

// pass hands on what the host sends until it sends no more.
func pass(up grpc.ClientStream, down grpc.ServerStream, change func([]byte) ([]byte, error)) {
	for {
		var in rawcodec.In
		if down.RecvMsg(&in) != nil {
			_ = up.CloseSend() // nothing more comes
			return
		}
		b, err := change(in.Data)
		if err != nil || up.SendMsg(out(b)) != nil {
			return
		}
	}
}

func (f fault) onFrame(method string, b []byte) ([]byte, error) {
	if method != pluginv1.Plugin_Session_FullMethodName || f.hears == nil {
		return b, nil
	}
	var frame pluginv1.HostFrame
	if err := proto.Unmarshal(b, &frame); err != nil {
		return nil, err
	}
	f.hears(&frame)
	return proto.Marshal(&frame)
}

func (f fault) onReply(method string, b []byte) ([]byte, error) {
	switch {
	case method == pluginv1.Plugin_Session_FullMethodName && f.frame != nil:
		var frame pluginv1.PluginFrame
		if err := proto.Unmarshal(b, &frame); err != nil {
			return nil, err
		}
		f.frame(&frame)
		return proto.Marshal(&frame)
	case method == tykpb.Dispatcher_Dispatch_FullMethodName && f.tyk != nil:
		var o tykpb.Object
		if err := proto.Unmarshal(b, &o); err != nil {
			return nil, err
		}
		if err := f.tyk(&o); err != nil {
			return nil, err
		}
		return proto.Marshal(&o)
	}
	return b, nil
}
