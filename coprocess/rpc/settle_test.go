package rpc_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// TestSettle: after Settle the first call meets a server that is known to be up or down, not one being dialled.
func TestSettle(t *testing.T) {
	noLeaks(t)
	l := listen(t)
	startPlugin(t, markPlugin(), l, serve.Options{})
	fails := func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
	hangs := func(ctx context.Context, _ string) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
	for _, tt := range []struct {
		name    string
		o       rpc.Options
		up      bool
		timeout time.Duration
	}{
		{"up", rpc.Options{Address: "unix:" + l.Addr().String()}, true, time.Minute},
		{"down", rpc.Options{Address: "unix:" + filepath.Join(t.TempDir(), "none")}, false, time.Minute},
		{"no such name", rpc.Options{Address: "dns:///nowhere.example:1", Resolve: fails}, false, time.Minute},
		{"never known", rpc.Options{Address: "dns:///nowhere.example:1", Resolve: hangs}, false, 10 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, tt.o)
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			s.Settle(ctx)
			if ended := ctx.Err() != nil; ended != (tt.name == "never known") {
				t.Errorf("the wait ended with its context: %v", ended)
			}
			if _, err := call(t.Context(), t, s, "Mark"); (err == nil) != tt.up {
				t.Errorf("got %v, up: %v", err, tt.up)
			}
		})
	}
}
