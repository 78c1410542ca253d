package plugins

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// start runs a server on a unix socket until the test ends, and returns its address once it accepts.
func start(t *testing.T, f func(context.Context, string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx, "unix:"+path) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	deadline := time.Now().Add(5 * time.Second)
	for {
		if proc.Accepts("unix:"+path)(ctx) == nil {
			return "unix:" + path
		}
		if time.Now().After(deadline) {
			t.Fatal("the server accepts no connection")
		}
	}
}

func TestCall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads processes' clocks, which needs Linux")
	}
	address := start(t, ServeTyk)
	calls, err := Call(t.Context(), address, os.Getpid(), os.Getpid(), 3, 50*time.Millisecond)
	if err != nil || calls.Count <= 0 || calls.ClientCPU <= 0 || calls.Elapsed < 50*time.Millisecond {
		t.Errorf("got %+v, %v", calls, err)
	}
	if _, err := Call(t.Context(), "unix:/no/such/socket", os.Getpid(), os.Getpid(), 1, time.Millisecond); err == nil {
		t.Error("no error when nobody listens")
	}
}

func TestDispatch(t *testing.T) {
	call := func(hook, token string) (*coprocess.Object, error) {
		object := sampleObject()
		object.HookName = hook
		object.Request.Headers["Authorization"] = token
		return dispatcher{}.Dispatch(t.Context(), object)
	}
	if reply, err := call(Authenticate, Token); err != nil || reply.Metadata["token"] != Token || reply.Session.LastUpdated == "" {
		t.Errorf("good token: %v, %v", reply, err)
	}
	if reply, err := call(Authenticate, "other"); err != nil || reply.Request.ReturnOverrides.GetResponseCode() != 401 {
		t.Errorf("bad token: %v, %v", reply, err)
	}
	if _, err := call("Other", Token); err == nil {
		t.Error("no error for an unknown hook")
	}
	if _, err := (dispatcher{}).Dispatch(t.Context(), &coprocess.Object{}); err == nil {
		t.Error("no error without a request")
	}
}
