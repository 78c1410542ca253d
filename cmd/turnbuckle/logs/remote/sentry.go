package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// sentryTarget makes an event of each line, and leaves it to Sentry's own client, whose transport has a bounded queue and
// waits for nobody. It implements io.Writer for a slog.JSONHandler, which writes a line at a time.
type sentryTarget struct {
	client  *sentry.Client
	handler slog.Handler
	dropped atomic.Uint64
}

func openSentry(c config.LogTarget, level slog.Level, id Identity) (Target, error) {
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: c.DSN, Environment: c.Environment, Release: app + "@" + id.Version, ServerName: id.Host, MaxBreadcrumbs: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("log target: dsn: %w", err)
	}
	t := &sentryTarget{client: client}
	t.handler = slog.NewJSONHandler(t, &slog.HandlerOptions{Level: level})
	return t, nil
}

// Handler implements Target.
func (t *sentryTarget) Handler() slog.Handler { return t.handler }

// Dropped implements Target: lines that were not taken. What the client loses later it tells Sentry alone.
func (t *sentryTarget) Dropped() uint64 { return t.dropped.Load() }

// Write takes one line.
func (t *sentryTarget) Write(p []byte) (int, error) {
	l, err := parseLine(p)
	if err != nil {
		t.dropped.Add(1)
		return len(p), nil
	}
	e := sentry.NewEvent()
	e.Timestamp, e.Message, e.Logger = l.time, l.message, app
	e.Level = sentryLevel(l.level)
	e.Contexts["log"] = l.attrs
	e.Fingerprint = []string{l.message} // what is carried differs from line to line
	if t.client.CaptureEvent(e, nil, nil) == nil {
		t.dropped.Add(1)
	}
	return len(p), nil
}

func sentryLevel(level string) sentry.Level {
	switch {
	case strings.HasPrefix(level, "ERROR"):
		return sentry.LevelError
	case strings.HasPrefix(level, "WARN"):
		return sentry.LevelWarning
	case strings.HasPrefix(level, "INFO"):
		return sentry.LevelInfo
	}
	return sentry.LevelDebug
}

// Close implements Target.
func (t *sentryTarget) Close(ctx context.Context) error {
	left := 2 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	sent := t.client.Flush(left)
	t.client.Close()
	if !sent {
		return errors.New("sentry: not all lines could be sent in time")
	}
	return nil
}
