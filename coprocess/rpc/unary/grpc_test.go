package unary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

// serveGRPC serves what handle does with grpc-go and returns a connection to it.
func serveGRPC(t *testing.T, handle func(ctx context.Context, b []byte) ([]byte, error), opts ...grpc.ServerOption) *unary.Conn {
	t.Helper()
	noLeaks(t)
	opts = append(opts, grpc.ForceServerCodecV2(rawcodec.New()), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if m, _ := grpc.MethodFromServerStream(stream); m != method {
			return status.Errorf(codes.Unimplemented, "no method %q", m)
		}
		var in rawcodec.In
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		out, err := handle(stream.Context(), in.Data)
		if err != nil {
			return err
		}
		return stream.SendMsg(&rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(out)}})
	}))
	g := grpc.NewServer(opts...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := unary.New(t.Context(), nc, unary.Options{Method: method, Authority: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func echo(_ context.Context, b []byte) ([]byte, error) { return b, nil }

// TestSizes: messages of all sizes up to the usual limits, both ways, alone and many at once.
func TestSizes(t *testing.T) {
	for _, opts := range [][]grpc.ServerOption{
		nil,
		{grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(1 << 20), grpc.MaxHeaderListSize(4096), grpc.HeaderTableSize(0)},
	} {
		t.Run(fmt.Sprint(len(opts)), func(t *testing.T) {
			c := serveGRPC(t, echo, opts...)
			var all sync.WaitGroup
			for _, n := range []int{0, 1, 16378, 16379, 16380, 65530, 65531, 65536, 300_000, 4 << 20} {
				message := strings.Repeat(string(rune('a'+n%26)), n)
				wantReply(t, do(t.Context(), c, message), message)
				all.Go(func() { wantReply(t, do(t.Context(), c, message), message) })
			}
			all.Wait()
		})
	}
}

// TestManyCalls: hundreds of callers, few streams, and each gets its own reply.
func TestManyCalls(t *testing.T) {
	var running, most atomic.Int64
	c := serveGRPC(t, func(_ context.Context, b []byte) ([]byte, error) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer running.Add(-1)
		return b, nil
	}, grpc.MaxConcurrentStreams(10))
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			call := unary.NewCall()
			for j := range 50 {
				call.Message = bytes.Repeat(fmt.Append(call.Message[:0], i, "/", j, " "), 1+j*j)
				reply, err := c.Do(t.Context(), call)
				if err != nil || !bytes.Equal(reply, call.Message) {
					t.Errorf("got %.30q, %v, want %.30q", reply, err, call.Message)
					return
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 10 {
		t.Errorf("%d calls at once", most.Load())
	}
}

func TestStatuses(t *testing.T) {
	const text = "ünusual \x01 100%\nmessage"
	c := serveGRPC(t, func(ctx context.Context, b []byte) ([]byte, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if strings.Join(md.Get("traceparent"), "") != "p" || strings.Join(md.Get("tracestate"), "") != "s" {
			return nil, fmt.Errorf("got metadata %v", md)
		}
		if _, bounded := ctx.Deadline(); bounded != (string(b) == "hang") {
			return nil, errors.New("deadline did not come, or one came that there is not")
		}
		if string(b) == "hang" {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Error(codes.Code(b[0]), text)
	})
	call := unary.NewCall()
	call.TraceParent, call.TraceState = "p", "s"
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		call.Message = []byte{byte(code)}
		_, err := c.Do(t.Context(), call)
		var e *unary.Error
		if !errors.As(err, &e) || e.Code != code || e.Message != text || e.NotSent || e.Garbage || e.Gone {
			t.Errorf("got %+v, want code %v", e, code)
		}
	}
	call.Message = []byte("hang")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, call)
	e := (*unary.Error)(nil) // the server knows the deadline too, and either may be first
	if !errors.Is(err, context.DeadlineExceeded) && (!errors.As(err, &e) || e.Code != codes.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
}

// TestMessageTooLargeForServer: a server's own limit is the server's to say.
func TestMessageTooLargeForServer(t *testing.T) {
	c := serveGRPC(t, echo, grpc.MaxRecvMsgSize(100))
	if e := (<-do(t.Context(), c, strings.Repeat("x", 1<<20))).failure(t); e.Code != codes.ResourceExhausted {
		t.Errorf("got %+v", e)
	}
	wantReply(t, do(t.Context(), c, "short"), "short")
}
