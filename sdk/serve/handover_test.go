package serve

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// reaches reports whether a connection to l's address arrives at l.
func reaches(t *testing.T, l net.Listener) {
	t.Helper()
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.Close()
		}
		accepted <- err
	}()
	conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

func TestTakeOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(t.Context(), "unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	second, err := TakeOver(t.Context(), "unix:"+path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, second)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, second)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info, err)
	}
	third, err := TakeOver(t.Context(), "unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, third)
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	again, err := Listen(t.Context(), "unix:"+path, 0o600) // what third left is stale
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, again)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := TakeOver(t.Context(), "unix:"+file, 0o600); err == nil {
		_ = l.Close()
		t.Error("a file was taken for a server's socket")
	}
}

func TestTakeOverPort(t *testing.T) {
	first, err := TakeOver(t.Context(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(t.Context(), first.Addr().String(), 0); err == nil {
		_ = l.Close()
		t.Error("the port was opened twice without being asked for")
	}
	second, err := TakeOver(t.Context(), "tcp://"+first.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, second)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := TakeOver(t.Context(), taken(t), 0); err == nil || !strings.Contains(err.Error(), "must have been started for that") {
		t.Errorf("got %v, want to be told why", err)
	}
}

func TestInheritedSocket(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	f, err := first.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(f.Fd())) // one that Listen may close
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(t.Context(), "fd:"+strconv.Itoa(fd), 0)
	if err != nil {
		t.Fatal(err)
	}
	if second.Addr().String() != first.Addr().String() {
		t.Errorf("got %v, want %v", second.Addr(), first.Addr())
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, first) // it lives on in others
	for _, bad := range []string{"fd:", "fd:x", "fd:-1", "fd:60000"} {
		if _, err := Listen(t.Context(), bad, 0); err == nil {
			t.Errorf("%s was accepted", bad)
		}
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
