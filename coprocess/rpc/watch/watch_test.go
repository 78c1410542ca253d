package watch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/watch"
)

type key struct{}

// TestContexts: contexts derived from a watched one end with its deadline and with its parent, and not otherwise.
func TestContexts(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	w := watch.New()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()

	short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelShort()
	left, leave := context.WithCancel(t.Context())
	late := w.Begin(short, context.WithValue(t.Context(), key{}, "v"))
	gone := w.Begin(left, nil)
	stays := w.Begin(t.Context(), nil)
	defer w.End(stays)
	defer w.End(gone)
	defer w.End(late)
	if late.Value(key{}) != "v" || gone.Value(key{}) != nil {
		t.Error("values are not the given ones")
	}
	for _, tt := range []struct {
		name string
		ctx  *watch.Context
		want error
		do   func()
	}{
		{"deadline", late, context.DeadlineExceeded, func() {}},
		{"parent", gone, context.Canceled, leave},
	} {
		derived, cancel := context.WithCancel(tt.ctx)
		defer cancel()
		tt.do()
		<-derived.Done()
		if !errors.Is(derived.Err(), tt.want) || !errors.Is(tt.ctx.Err(), tt.want) {
			t.Errorf("%s: got %v and %v, want %v", tt.name, derived.Err(), tt.ctx.Err(), tt.want)
		}
	}
	after, cancel := context.WithCancel(gone) // derived when it has ended
	defer cancel()
	<-after.Done()
	still, cancelStill := context.WithCancel(stays)
	defer cancelStill()
	if still.Err() != nil {
		t.Error("ended without a reason")
	}
}
