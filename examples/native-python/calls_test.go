package nativepython_test

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// A call that waits holds no other, though all share one stream; it ends when what it waits for comes.
func (f fixture) heldCall(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	g := f.gateway(t, f.definition)
	held := make(chan error, 1)
	go func() {
		r, err := g.Try(t.Context(), "GET", "/native/x", "", key, "X-Hold: slow")
		held <- errors.Join(err, r.Check(200))
	}()
	plugin.Await(t, `^holding slow$`)
	for range 50 {
		wantReply(t, g.Do(t, "GET", "/native/x", "", key), 200, "")
	}
	select {
	case err := <-held:
		t.Fatalf("the held call ended: %v", err)
	default:
	}
	wantReply(t, g.Do(t, "GET", "/native/x", "", key, "X-Release: slow"), 200, "")
	if err := <-held; err != nil {
		t.Error(err)
	}
	g.Await(t, `held slow`) // the hook's log line, in the gateway's log
}

// A client that leaves, and a deadline that passes, end the hook.
func (f fixture) endedCall(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	g := f.gateway(t, strings.Replace(f.definition, "timeout: 10s", "timeout: 200ms", 1))
	wantReply(t, g.Do(t, "GET", "/native/x", "", key, "X-Hold: forever"), 504, "")
	plugin.Await(t, `^left forever$`)

	g = f.gateway(t, f.definition)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := g.Try(ctx, "GET", "/native/x", "", key, "X-Hold: client")
		left <- err
	}()
	plugin.Await(t, `^holding client$`)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that left got %v", err)
	}
	plugin.Await(t, `^left client$`)
	wantReply(t, g.Do(t, "GET", "/native/x", "", key), 200, "")
}

// A call beside others is answered before the gateway stops, and the server ends its stream by itself.
func (f fixture) gatewayStops(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	g := f.gateway(t, f.definition)
	other := f.gateway(t, f.definition)
	held := make(chan error, 1)
	go func() {
		r, err := g.Try(t.Context(), "GET", "/native/x", "", key, "X-Hold: last")
		held <- errors.Join(err, r.Check(200))
	}()
	plugin.Await(t, `^holding last$`)
	g.Terminate()
	g.Await(t, `msg=stopping`)
	wantReply(t, other.Do(t, "GET", "/native/x", "", key, "X-Release: last"), 200, "")
	if err := <-held; err != nil {
		t.Error(err)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}
