package serve

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const authorEnv = "TURNBUCKLE_SERVE_AUTHOR"

func slowPlugin() *sdk.Plugin {
	return one("Slow", func(ctx context.Context, x *sdk.Exchange) error {
		select {
		case <-time.After(time.Second):
			x.Request().Header().Set("X-Slow", "1")
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// TestToldTwice: timeout(1), and who signals all processes of a service, send SIGTERM more than once. Calls that are under
// way end all the same.
func TestToldTwice(t *testing.T) {
	address := "unix:" + filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0], "-listen", address, "-handover", "1ms")
	cmd.Env = append(os.Environ(), authorEnv+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	says := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := watch.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("health says %v, %v, want %v", r.GetStatus(), err, want)
		}
	}
	says(healthpb.HealthCheckResponse_SERVING)
	sent, answered := make(chan struct{}), make(chan error, 1)
	go func() {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{}, tykpb.Dispatcher_Dispatch_FullMethodName)
		if err == nil {
			err = stream.SendMsg(&tykpb.Object{HookType: tykpb.HookType_Pre, HookName: "Slow", Request: &tykpb.MiniRequestObject{}})
		}
		if err == nil {
			err = stream.CloseSend()
		}
		close(sent)
		if err == nil {
			err = stream.RecvMsg(&tykpb.Object{})
		}
		answered <- err
	}()
	<-sent
	tell := func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	tell()
	says(healthpb.HealthCheckResponse_NOT_SERVING)
	tell()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
