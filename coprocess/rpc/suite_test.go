package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// noLeaks checks, when everything else is cleaned up, that no goroutine stayed behind.
func noLeaks(t *testing.T) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

// startPlugin serves p on l until the test ends.
func startPlugin(t *testing.T, p *sdk.Plugin, l net.Listener, o serve.Options) *serve.Server {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := serve.New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(t.Context()), l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.WithoutCancel(t.Context())), <-done); err != nil {
			t.Errorf("plugin server: %v", err)
		}
	})
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func open(t testing.TB, o rpc.Options) *rpc.Server {
	t.Helper()
	s, err := rpc.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func suite(o rpc.Options) coprocesstest.Open {
	return func(t *testing.T, p *sdk.Plugin) coprocess.Server {
		noLeaks(t)
		l := listen(t)
		startPlugin(t, p, l, serve.Options{})
		o.Address = "unix:" + l.Addr().String()
		s := open(t, o)
		await(t, s)
		return s
	}
}

func TestNative(t *testing.T) { coprocesstest.Run(t, suite(rpc.Options{})) }

func TestNativeManyStreams(t *testing.T) {
	coprocesstest.Run(t, suite(rpc.Options{Streams: 3, Window: 2}))
}

func TestTyk(t *testing.T) { coprocesstest.RunTyk(t, suite(rpc.Options{Protocol: rpc.Tyk})) }

func TestTykGRPC(t *testing.T) {
	coprocesstest.RunTyk(t, suite(rpc.Options{Protocol: rpc.Tyk, GRPCUnary: true}))
}
