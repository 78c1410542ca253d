// Package logs has what the logs of a running gateway are written by: a handler and a file that change under their users.
package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Changing is a log handler whose level, form and targets can change while loggers made of it are in use.
type Changing struct {
	w   io.Writer
	now *atomic.Pointer[slog.Handler]
	to  *targets
	// with adds what a logger carries to a handler; nil: nothing.
	with func(slog.Handler) slog.Handler
	all  bool // whatever the level
}

var _ slog.Handler = (*Changing)(nil)

// NewChanging returns a handler that writes to w, and to targets, as the settings say. Close ends it; ctx lends its values
// and not its end.
func NewChanging(ctx context.Context, w io.Writer, c config.Log, id remote.Identity) *Changing {
	l := &Changing{w: w, now: &atomic.Pointer[slog.Handler]{}, to: &targets{ctx: context.WithoutCancel(ctx), id: id}}
	l.Set(c)
	return l
}

// Set has every line from here on written as the settings say.
func (l *Changing) Set(c config.Log) {
	level := remote.Level(c.Level)
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(l.w, o)
	if c.Format == config.LogJSON {
		h = slog.NewJSONHandler(l.w, o)
	}
	if more := l.to.set(c.Targets, level, slog.New(h)); len(more) > 0 {
		h = slog.NewMultiHandler(append([]slog.Handler{h}, more...)...)
	}
	l.now.Store(&h)
}

// Dropped is how many lines targets have lost so far.
func (l *Changing) Dropped() uint64 { return l.to.dropped() }

// Close sends what waits for targets until ctx ends; what is logged later goes to the writer alone.
func (l *Changing) Close(ctx context.Context) error { return l.to.close(ctx) }

// All returns a handler for lines that are written whatever the level is, such as those of an audit. It changes with l.
func (l *Changing) All() *Changing {
	a := *l
	a.all = true
	return &a
}

// Enabled implements [slog.Handler].
func (l *Changing) Enabled(ctx context.Context, level slog.Level) bool {
	return l.all || (*l.now.Load()).Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l *Changing) Handle(ctx context.Context, r slog.Record) error {
	h := *l.now.Load()
	if l.with != nil {
		h = l.with(h)
	}
	return h.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (l *Changing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.carrying(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (l *Changing) WithGroup(name string) slog.Handler {
	return l.carrying(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l *Changing) carrying(more func(slog.Handler) slog.Handler) slog.Handler {
	before := l.with
	with := more
	if before != nil {
		with = func(h slog.Handler) slog.Handler { return more(before(h)) }
	}
	return &Changing{l.w, l.now, l.to, with, l.all}
}
