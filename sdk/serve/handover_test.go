package serve

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
)

// TestHandover: a server that stops sends GOAWAY and goes on serving the streams it has, then says so in health and on
// the streams that are left.
func TestHandover(t *testing.T) {
	r := start(t, one("H", nil), Options{Handover: time.Second})
	health, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := health.Recv(); err != nil || s.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", s, err)
	}
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.call(1)
	h.reply(1)
	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !r.conn.WaitForStateChange(ctx, connectivity.Ready) {
		t.Fatal("no GOAWAY came")
	}
	if _, err := os.Stat(r.socket); err == nil {
		t.Error("it sends GOAWAY and listens")
	}
	h.call(2)
	h.reply(2)
	if h.drained && time.Since(begun) < 900*time.Millisecond {
		t.Error("told to drain before there was time for a handover")
	}
	if s, err := health.Recv(); err != nil || s.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: got %v, %v", s, err)
	}
	h.until("the drain", func() bool { return h.drained })
	if err := h.end(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestHandoverEndsEarly: a server that everybody has left does not wait for more.
func TestHandoverEndsEarly(t *testing.T) {
	r := start(t, one("H", nil), Options{Drain: 10 * time.Minute, Handover: 5 * time.Minute})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.call(1)
	h.reply(1)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !r.conn.WaitForStateChange(ctx, connectivity.Ready) {
		t.Fatal("no GOAWAY came")
	}
	if err := h.end(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("still waits")
		_ = r.conn.Close()
	}
}

// TestRunNamesTheBoundAddress: who let the system choose a port reads in the log which.
func TestRunNamesTheBoundAddress(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct{ args, want string }{
		{"-listen 127.0.0.1:0", "address=127.0.0.1:"},
		{"-listen tcp://127.0.0.1:0 -takeover", "address=127.0.0.1:"},
		{"-listen unix:" + socket, "address=unix:" + socket + " "},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out, status := &lines{}, make(chan int, 1)
		go func() {
			status <- Run(ctx, one("H", nil), strings.Fields(tt.args), func(string) string { return "" }, out)
		}()
		tick := time.NewTicker(5 * time.Millisecond)
		for !strings.Contains(out.String(), "msg=serving") && len(status) == 0 {
			<-tick.C
		}
		tick.Stop()
		cancel()
		if got := <-status; got != 0 || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: got %d, %s", tt.args, got, out.String())
		}
		if strings.Contains(out.String(), "address=127.0.0.1:0 ") {
			t.Errorf("%s: the log names no port: %s", tt.args, out.String())
		}
	}
}
