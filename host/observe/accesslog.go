package observe

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Entry is what an access log line says beside its flow.
type Entry struct {
	Route      *sdk.Route
	Status     int
	Took       time.Duration
	AnsweredBy string
	Error      string
	Hooks      []sdk.HookRecord
}

// The fields of a line, in the order in which they are written when none are chosen.
const (
	fieldTime = iota
	fieldRequestID
	fieldAPI
	fieldOrg
	fieldClient
	fieldMethod
	fieldHost
	fieldPath
	fieldProto
	fieldStatus
	fieldDuration
	fieldUpstream
	fieldTarget
	fieldIn
	fieldOut
	fieldAnsweredBy
	fieldAlias
	fieldUserAgent
	fieldTrace
	fieldHooks
	fieldError
	fieldEnd
)

var fieldNames = [fieldEnd]string{
	"time", "request_id", "api", "org", "client", "method", "host", "path", "proto", "status", "duration_us",
	"upstream_us", "target", "bytes_in", "bytes_out", "answered_by", "alias", "user_agent", "traceparent", "hooks", "error",
}

// AccessFields returns the names of an access log line's fields, in order.
func AccessFields() []string { return slices.Clone(fieldNames[:]) }

// AccessLog writes a line per exchange. Lines are gathered in memory and written by one goroutine, at the latest
// flushEvery after they came; when the writer cannot keep up, lines are dropped and counted, no request waits. The
// query is left out: it is where secrets travel. Safe for concurrent use.
type AccessLog struct {
	w      io.Writer
	fields []int
	json   bool
	fail   func(error)
	shards [Shards]logShard
	wake   chan struct{}
	done   chan struct{}
	ended  chan struct{}
	once   sync.Once
}

type logShard struct {
	mu      sync.Mutex
	buf     []byte
	dropped uint64
	_       [64]byte
}

const (
	flushEvery = 500 * time.Millisecond
	flushAt    = 32 << 10
	logBound   = 1 << 20 // of a shard, when the writer is stuck
)

// NewAccessLog returns a log that writes JSON or logfmt lines with the fields of those names, all when there are none,
// to w. fail is told once when writing begins to fail, and again after it recovered. Close ends it.
func NewAccessLog(w io.Writer, json bool, fields []string, fail func(error)) (*AccessLog, error) {
	l := &AccessLog{
		w: w, json: json, fail: fail,
		wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, name := range fields {
		i := slices.Index(fieldNames[:], name)
		if i < 0 {
			return nil, fmt.Errorf("access log: unknown field %q: want one of %v", name, fieldNames)
		}
		l.fields = append(l.fields, i)
	}
	for i := 0; len(fields) == 0 && i < fieldEnd; i++ {
		l.fields = append(l.fields, i)
	}
	go l.run()
	return l, nil
}

// Close writes what is left and ends the log. The writer stays open.
func (l *AccessLog) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.done) })
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("access log: %w", ctx.Err())
	}
}

// Write adds the line of an exchange that ended.
func (l *AccessLog) Write(shard int, f *flow.Flow, e *Entry) {
	s := &l.shards[shard]
	s.mu.Lock()
	if len(s.buf) > logBound {
		s.dropped++
		s.mu.Unlock()
		return
	}
	s.buf = l.line(s.buf, f, e)
	full := len(s.buf) > flushAt
	s.mu.Unlock()
	if full {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

func (l *AccessLog) run() {
	defer close(l.ended)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var spare []byte
	failing := false
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-l.wake:
		case <-l.done:
			last = true
		}
		for i := range l.shards {
			s := &l.shards[i]
			s.mu.Lock()
			full, dropped := s.buf, s.dropped
			s.buf, s.dropped = spare[:0], 0
			s.mu.Unlock()
			var err error
			if len(full) > 0 {
				_, err = l.w.Write(full)
			}
			if dropped > 0 && err == nil {
				err = fmt.Errorf("%d lines dropped: the writer is too slow", dropped)
			}
			if err != nil && !failing && l.fail != nil {
				l.fail(fmt.Errorf("access log: %w", err))
			}
			if len(full) > 0 || dropped > 0 {
				failing = err != nil
			}
			spare = full
			if cap(spare) > 4*flushAt {
				spare = nil
			}
		}
	}
}

func (l *AccessLog) line(b []byte, f *flow.Flow, e *Entry) []byte {
	if l.json {
		b = append(b, '{')
	}
	n := len(b)
	for _, field := range l.fields {
		mark := len(b)
		if len(b) > n {
			if l.json {
				b = append(b, ',')
			} else {
				b = append(b, ' ')
			}
		}
		if l.json {
			b = append(b, '"')
			b = append(b, fieldNames[field]...)
			b = append(b, '"', ':')
		} else {
			b = append(b, fieldNames[field]...)
			b = append(b, '=')
		}
		var wrote bool
		if b, wrote = l.value(b, field, f, e); !wrote {
			b = b[:mark]
		}
	}
	if l.json {
		b = append(b, '}')
	}
	return append(b, '\n')
}

// value appends the value of a field, or reports that the line has none.
func (l *AccessLog) value(b []byte, field int, f *flow.Flow, e *Entry) ([]byte, bool) {
	r := f.X.Request()
	switch field {
	case fieldTime:
		b = append(b, '"')
		b = f.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
		return append(b, '"'), true
	case fieldClient:
		if a := f.X.ClientAddr(); a.IsValid() {
			b = append(b, '"')
			return append(a.AppendTo(b), '"'), true
		}
		return b, false
	case fieldStatus:
		return strconv.AppendInt(b, int64(e.Status), 10), true
	case fieldDuration:
		return strconv.AppendInt(b, e.Took.Microseconds(), 10), true
	case fieldUpstream:
		if f.Times.Header.IsZero() {
			return b, false
		}
		return strconv.AppendInt(b, f.Times.Header.Sub(f.Times.Sent).Microseconds(), 10), true
	case fieldIn:
		return strconv.AppendInt(b, f.BytesIn, 10), true
	case fieldOut:
		return strconv.AppendInt(b, f.BytesOut, 10), true
	case fieldHooks:
		return l.hooks(b, e.Hooks)
	case fieldAlias:
		if s := f.X.Session(); s != nil {
			return text(b, s.Alias, s.Alias != "")
		}
		return b, false
	case fieldUserAgent:
		v, ok := r.Header().Lookup("User-Agent")
		return text(b, v, ok)
	}
	v := ""
	switch field {
	case fieldRequestID:
		v = f.X.RequestID()
	case fieldAPI:
		v = e.Route.ID
	case fieldOrg:
		v = e.Route.Org
	case fieldMethod:
		v = r.Method()
	case fieldHost:
		v = r.Host()
	case fieldPath:
		v = r.URI()
		for i := range len(v) {
			if v[i] == '?' {
				v = v[:i]
				break
			}
		}
	case fieldProto:
		v = r.Proto()
	case fieldTarget:
		v = f.Reply.Target
	case fieldAnsweredBy:
		v = e.AnsweredBy
	case fieldTrace:
		v = f.X.Trace().Parent
	case fieldError:
		v = e.Error
	}
	return text(b, v, v != "")
}

// hooks appends one word per call: name:outcome:microseconds, with what it changed behind a plus.
func (l *AccessLog) hooks(b []byte, hooks []sdk.HookRecord) ([]byte, bool) {
	if len(hooks) == 0 {
		return b, false
	}
	b = append(b, '"')
	for i := range hooks {
		h := &hooks[i]
		if i > 0 {
			b = append(b, ' ')
		}
		b = quote(b, h.Name)
		b = append(b, ':')
		b = append(b, h.Outcome.String()...)
		b = append(b, ':')
		b = strconv.AppendInt(b, h.Duration.Microseconds(), 10)
		for _, n := range h.Changed.Names() {
			b = append(b, '+')
			b = append(b, n...)
		}
	}
	return append(b, '"'), true
}

func text(b []byte, s string, present bool) ([]byte, bool) {
	if !present {
		return b, false
	}
	b = append(b, '"')
	return append(quote(b, s), '"'), true
}

const hexDigits = "0123456789abcdef"

// quote appends s as the inside of a JSON string; bytes that are not UTF-8 become U+FFFD.
func quote(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf && c != 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(append(b, s[start:i]...), "\ufffd"...)
		} else if c == '"' || c == '\\' {
			b = append(append(b, s[start:i]...), '\\', c)
		} else {
			b = append(append(b, s[start:i]...), '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(b, s[start:]...)
}
