package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
)

func open(t *testing.T, service string, register func(*grpc.Server)) *Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Open(func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}, nil, service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

type stuck struct {
	healthpb.UnimplementedHealthServer
}

func (stuck) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestCheck(t *testing.T) {
	status := func(s healthpb.HealthCheckResponse_ServingStatus) func(*grpc.Server) {
		return func(g *grpc.Server) {
			h := health.NewServer()
			h.SetServingStatus("plugin", s)
			healthpb.RegisterHealthServer(g, h)
		}
	}
	tests := []struct {
		name, service string
		register      func(*grpc.Server)
		want          error
	}{
		{"serving", "plugin", status(healthpb.HealthCheckResponse_SERVING), nil},
		{"not serving", "plugin", status(healthpb.HealthCheckResponse_NOT_SERVING), ErrNotServing},
		{"as a whole", "", status(healthpb.HealthCheckResponse_NOT_SERVING), nil},
		{"unknown service", "other", status(healthpb.HealthCheckResponse_SERVING), nil},
		{"no health service", "plugin", func(*grpc.Server) {}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := open(t, test.service, test.register)
			if err := c.Check(t.Context()); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("stuck", func(t *testing.T) {
		c := open(t, "plugin", func(g *grpc.Server) { healthpb.RegisterHealthServer(g, stuck{}) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := c.Check(ctx); err == nil || errors.Is(err, ErrNotServing) {
			t.Errorf("got %v, want that it was not answered", err)
		}
	})
}

// A server without go-plugin's services is none to be shut down or read from, and says so at once.
func TestWithoutServices(t *testing.T) {
	c := open(t, "", func(*grpc.Server) {})
	if c.Shutdown(t.Context()) == nil {
		t.Error("it was shut down")
	}
	c.Stdio(t.Context(), func(bool, []byte) { t.Error("it wrote something") })
}

func data(channel uint64, text string) []byte {
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, channel)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendString(b, text)
}

func TestStdio(t *testing.T) {
	tests := []struct {
		name       string
		message    []byte
		stdout, ok bool
		data       string
	}{
		{"stdout", data(1, "out"), true, true, "out"},
		{"stderr", data(2, "err"), false, true, "err"},
		{"nothing", nil, false, false, ""},
		{"channel of another time", data(3, "x"), false, false, ""},
		{"more", protowire.AppendVarint(protowire.AppendTag(data(1, "out"), 9, protowire.VarintType), 7), true, true, "out"},
		{"cut", data(1, "out")[:4], false, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stdout, got, ok := stdio(test.message)
			if ok != test.ok || ok && (stdout != test.stdout || string(got) != test.data) {
				t.Errorf("got %v %q %v", stdout, got, ok)
			}
		})
	}
}

func FuzzStdio(f *testing.F) {
	f.Add(data(1, "out"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		if _, got, ok := stdio(b); ok && len(got) > len(b) {
			t.Errorf("%d bytes of %d", len(got), len(b))
		}
		if !slices.Equal(before, b) {
			t.Error("the message was changed")
		}
	})
}
