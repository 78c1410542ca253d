// Package remote sends the gateway's log to elsewhere: syslog, Graylog, Logstash and Sentry. Nobody who logs waits for
// them: lines go through a bounded queue, and what does not fit is dropped and counted.
package remote

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Identity is what a gateway says of itself with every line.
type Identity struct {
	Host    string // the machine's name
	Version string
	PID     int
}

// Target is a place to which lines go. Its handler may be used by several goroutines at once.
type Target interface {
	Handler() slog.Handler
	// Dropped is how many lines have been lost so far.
	Dropped() uint64
	// Close sends what waits, until ctx ends, and lets go of the target.
	Close(ctx context.Context) error
}

// Open opens a target as the settings say; fallback is the level where they say none. It does not connect yet, and fails
// only over what the settings say. fail is told when a target that was there is not any more, on a goroutine of the
// target's. ctx lends its values and not its end.
func Open(ctx context.Context, c config.LogTarget, fallback slog.Level, id Identity, fail func(error)) (Target, error) {
	level := fallback
	if c.Level != "" {
		level = Level(c.Level)
	} else if c.Type == config.LogSentry {
		level = slog.LevelError
	}
	if c.Type == config.LogSentry {
		return openSentry(c, level, id)
	}
	link, err := newLink(c)
	if err != nil {
		return nil, err
	}
	f := formatter{id: id, facility: slices.Index(facilities(), c.Facility)}
	format := f.syslog
	switch {
	case c.Type == config.LogGELF:
		format = f.gelf
	case c.Type == config.LogLogstash:
		format = f.logstash
	case link.network == "unixgram":
		format = f.local
	}
	return start(ctx, link, format, level, fail), nil
}

// Level is the level that the settings name.
func Level(l config.LogLevel) slog.Level {
	switch l {
	case config.LevelDebug:
		return slog.LevelDebug
	case config.LevelWarn:
		return slog.LevelWarn
	case config.LevelError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// queueLines bounds the lines that wait for a target.
const queueLines = 4096

// stream is a target that gets lines over a connection. It implements io.Writer for a slog.JSONHandler, which writes a
// line at a time.
type stream struct {
	link    *link
	format  func(line) ([]byte, error)
	handler slog.Handler
	fail    func(error)
	lines   chan []byte
	dropped atomic.Uint64

	mu      sync.RWMutex // of closed and of sending to lines
	closed  bool
	stop    context.CancelFunc
	stopped chan struct{}
}

func start(ctx context.Context, l *link, format func(line) ([]byte, error), level slog.Level, fail func(error)) *stream {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it
	s := &stream{link: l, format: format, fail: fail, lines: make(chan []byte, queueLines), stop: stop, stopped: make(chan struct{})}
	s.handler = slog.NewJSONHandler(s, &slog.HandlerOptions{Level: level})
	go s.run(ctx)
	return s
}

// Handler implements Target.
func (s *stream) Handler() slog.Handler { return s.handler }

// Dropped implements Target.
func (s *stream) Dropped() uint64 { return s.dropped.Load() }

// Write takes one line, and drops it when too many wait.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		s.dropped.Add(1)
		return len(p), nil
	}
	select {
	case s.lines <- slices.Clone(p):
	default:
		s.dropped.Add(1)
	}
	return len(p), nil
}

// Close implements Target.
func (s *stream) Close(ctx context.Context) error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	if !already {
		close(s.lines)
	}
	s.mu.Unlock()
	select {
	case <-s.stopped:
	case <-ctx.Done():
		s.stop()
		<-s.stopped // soon: every step on the way has a deadline that ends with it
	}
	s.stop()
	return nil
}

// How long is waited before the next attempt at a target that is away: twice as long each time.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

func (s *stream) run(ctx context.Context) {
	defer close(s.stopped)
	defer s.link.close()
	for text := range s.lines {
		l, err := parseLine(text)
		var message []byte
		if err == nil {
			message, err = s.format(l)
		}
		if err != nil || !s.deliver(ctx, message) {
			s.dropped.Add(1)
		}
	}
}

// deliver sends a message, as often as it takes; false: the end came first.
func (s *stream) deliver(ctx context.Context, message []byte) bool {
	pause := firstPause
	for {
		err := s.link.send(ctx, message)
		if err == nil {
			return true
		}
		if pause == firstPause && ctx.Err() == nil {
			s.fail(err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
		pause = min(2*pause, maxPause)
	}
}
