// Package logs has what the logs of a running gateway are written by: a handler and a file that change under their users.
package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Changing is a log handler whose level and form can change while loggers made of it are in use.
type Changing struct {
	w   io.Writer
	now *atomic.Pointer[slog.Handler]
	// with adds what a logger carries to a handler; nil: nothing.
	with func(slog.Handler) slog.Handler
	all  bool // whatever the level
}

var _ slog.Handler = (*Changing)(nil)

// NewChanging returns a handler that writes to w as the settings say.
func NewChanging(w io.Writer, c config.Log) *Changing {
	l := &Changing{w: w, now: &atomic.Pointer[slog.Handler]{}}
	l.Set(c)
	return l
}

// Set has every line from here on written as the settings say.
func (l *Changing) Set(c config.Log) {
	levels := map[config.LogLevel]slog.Level{
		config.LevelDebug: slog.LevelDebug, config.LevelInfo: slog.LevelInfo, config.LevelWarn: slog.LevelWarn, config.LevelError: slog.LevelError,
	}
	o := &slog.HandlerOptions{Level: levels[c.Level]}
	var h slog.Handler = slog.NewTextHandler(l.w, o)
	if c.Format == config.LogJSON {
		h = slog.NewJSONHandler(l.w, o)
	}
	l.now.Store(&h)
}

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
	return &Changing{l.w, l.now, with, l.all}
}
