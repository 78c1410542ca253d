package serve

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// A worker is one of a session's goroutines, with the memory its calls use one after the other.
type worker struct {
	session *session
	wake    chan struct{} // holds a token once the worker is to leave the idle list

	slot int          // in the session's running; like id and ctx, guarded by the session's lock
	id   uint64       // of the call that runs
	ctx  *callContext // of that call

	msg   message // received
	jobs  []job   // found in it
	in    wire.Incoming
	x     sdk.Exchange
	reply []byte
	now   time.Time // when the last call ended
}

func newWorker(e *session) *worker { return &worker{session: e, wake: make(chan struct{}, 1)} }

// job is a call that waits to be run.
type job struct {
	id       uint64
	call     []byte     // aliases the frame
	frame    mem.Buffer // to be freed when the call has been answered
	binding  *binding
	err      error // why the call cannot be run
	arrived  time.Time
	deadline time.Time // zero: none
	canceled bool
}

// run runs the call's hooks and leaves its reply in w.reply, the time in w.now.
func (w *worker) run(j *job) {
	w.now = time.Now()
	w.reply = w.reply[:0]
	if err := w.runnable(j); err != nil {
		w.reply = wire.AppendFailure(w.reply, j.id, err)
		return
	}
	if err := w.in.Decode(j.call, &j.binding.Binding, &w.x); err != nil {
		w.reply = wire.AppendFailure(w.reply, j.id, err)
		return
	}
	w.in.Queued = w.now.Sub(j.arrived)
	w.runHooks(j.binding)
	w.ctx.end()
	w.reply = w.in.AppendReply(w.reply)
	if limit := w.session.server.opts.MaxMessage - frameOverhead; len(w.reply) > limit {
		w.reply = wire.AppendFailure(w.reply[:0], j.id, fmt.Errorf("a reply of %d bytes, the server sends %d at most",
			len(w.reply), limit))
	}
}

func (w *worker) runHooks(b *binding) {
	for i, hook := range b.hooks {
		w.x.Begin(b.Phase, b.Hooks[i].Config, true)
		began := w.now
		err := w.session.server.handle(w.ctx, hook, &w.x)
		w.now = time.Now()
		if !w.in.Done(&w.x, w.now.Sub(began), err) {
			return
		}
	}
	if b.err != nil {
		w.x.Begin(b.Phase, nil, true)
		w.in.Done(&w.x, 0, b.err)
	}
}

// runnable says why a call is not to be run.
func (w *worker) runnable(j *job) error {
	switch {
	case j.canceled:
		return context.Canceled
	case j.err != nil:
		return j.err
	case len(j.binding.Hooks) == 0:
		return j.binding.err
	case !j.deadline.IsZero() && !w.now.Before(j.deadline):
		return fmt.Errorf("%w: it passed before the call's turn came", context.DeadlineExceeded)
	}
	return nil
}

// panicked logs what a hook panicked with and makes it an error.
func (s *Server) panicked(hook string, p any) error {
	s.opts.Logger.Error("hook panicked", "plugin", s.plugin.Name, "hook", hook, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("%w: %v", sdk.ErrPanic, p)
}

// What is kept for the next call: this many bytes of reply, exchanges with this many header lines.
const (
	keepBytes  = 64 << 10
	keepFields = 256
)

// shrink gives memory back before a pause of unknown length.
func (w *worker) shrink() {
	if cap(w.reply) > keepBytes {
		w.reply = nil
	}
	if w.x.Request().Header().Len() > keepFields || w.x.Response().Header().Len() > keepFields || len(w.x.Request().Body()) > keepBytes {
		w.x, w.in = sdk.Exchange{}, wire.Incoming{}
	}
}
