package observe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/internal/instant"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Entry is what an access log line says beside its flow. Route is nil when none was found.
type Entry struct {
	Route      *sdk.Route
	Method     string // as the client sent it; "": as the request has it now
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
// flushEvery after they came; when the writer fails or cannot keep up, lines are dropped and counted, no request waits.
// The query is left out: it is where secrets travel. Safe for concurrent use.
type AccessLog struct {
	fields  []int
	keys    []string // of fields
	json    bool
	changes [32]string // the name of each bit of sdk.Change
	scratch sync.Pool  // *[]byte: lines are built before the shard's lock is taken
	shards  [Shards]logShard
	dropped atomic.Uint64
	out     logWriter
	wake    chan struct{}
	done    chan struct{}
	ended   chan struct{}
	once    sync.Once
}

type logShard struct {
	mu     sync.Mutex
	buf    []byte
	lines  uint64 // in buf
	closed bool
	_      [64]byte // the next shard is another core's
}

const (
	flushEvery = 500 * time.Millisecond
	flushAt    = 32 << 10
	logBound   = 1 << 20 // of a shard, when the writer is stuck
	maxText    = 8 << 10 // of a value; what is longer is cut
)

// NewAccessLog returns a log that writes JSON or logfmt lines with the fields of those names, all when there are none,
// to w. fail is told when lines are lost: at once the first time, then at most every 10 s, and at the end. Close ends it.
func NewAccessLog(w io.Writer, json bool, fields []string, fail func(error)) (*AccessLog, error) {
	l := &AccessLog{
		json: json, out: logWriter{w: w, fail: fail},
		wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}),
	}
	l.scratch.New = func() any { return new([]byte) }
	for i := range l.changes {
		if names := sdk.Change(1 << i).Names(); len(names) == 1 {
			l.changes[i] = names[0]
		}
	}
	for _, name := range fields {
		i := slices.Index(fieldNames[:], name)
		switch {
		case i < 0:
			return nil, fmt.Errorf("access log: unknown field %q: want one of %v", name, fieldNames)
		case slices.Contains(l.fields, i):
			return nil, fmt.Errorf("access log: field %q is named twice", name)
		}
		l.fields = append(l.fields, i)
	}
	for i := 0; len(fields) == 0 && i < fieldEnd; i++ {
		l.fields = append(l.fields, i)
	}
	for _, field := range l.fields {
		l.keys = append(l.keys, l.key(field))
	}
	go l.run()
	return l, nil
}

// Dropped returns how many lines were lost so far.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is left and ends the log: lines that come later are dropped. The writer stays open. An error says
// that it was still writing when ctx ended.
func (l *AccessLog) Close(ctx context.Context) error {
	l.once.Do(func() { close(l.done) })
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("access log: the writer is stuck: %w", ctx.Err())
	}
}

// Write adds the line of an exchange that ended; shard is below Shards. It never waits for the writer.
func (l *AccessLog) Write(shard int, f *flow.Flow, e *Entry) {
	scratch := l.scratch.Get().(*[]byte)
	line := l.line((*scratch)[:0], f, e)
	s := &l.shards[shard]
	s.mu.Lock()
	fits := !s.closed && len(s.buf)+len(line) <= logBound
	if fits {
		s.buf = append(s.buf, line...)
		s.lines++
	}
	full := len(s.buf) > flushAt
	s.mu.Unlock()
	*scratch = line
	l.scratch.Put(scratch)
	if !fits {
		l.dropped.Add(1)
	}
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
			full, lines := s.buf, s.lines
			s.buf, s.lines, s.closed = spare[:0], 0, last
			s.mu.Unlock()
			if len(full) > 0 {
				l.dropped.Add(l.out.write(full, lines))
			}
			spare = full
			if cap(spare) > max(4*flushAt, 4*len(full)) {
				spare = nil // grown when the writer was slow or there was more to write
			}
		}
		l.out.tell(l.dropped.Load(), last)
	}
}

func (l *AccessLog) line(b []byte, f *flow.Flow, e *Entry) []byte {
	if l.json {
		b = append(b, '{')
	}
	begin := len(b)
	for i, field := range l.fields {
		mark := len(b)
		key := l.keys[i]
		if mark == begin {
			key = key[1:] // nothing to part it from
		}
		var wrote bool
		if b, wrote = l.value(append(b, key...), field, f, e); !wrote {
			b = b[:mark]
		}
	}
	if l.json {
		b = append(b, '}')
	}
	return append(b, '\n')
}

// key is what stands before the value of a field, what parts it from the field before included.
func (l *AccessLog) key(field int) string {
	if l.json {
		return `,"` + fieldNames[field] + `":`
	}
	return " " + fieldNames[field] + "="
}

// value appends the value of a field, or reports that the line has none.
func (l *AccessLog) value(b []byte, field int, f *flow.Flow, e *Entry) ([]byte, bool) {
	r := f.X.Request()
	switch field {
	case fieldTime:
		return append(instant.Append(append(b, '"'), f.Start), '"'), true
	case fieldClient:
		a := f.X.ClientAddr()
		if a.Addr().Zone() != "" { // which may hold anything
			return text(b, a.String(), true)
		}
		if a.IsValid() {
			b = append(b, '"')
			return append(a.AppendTo(b), '"'), true
		}
		return b, false
	case fieldStatus:
		return strconv.AppendInt(b, int64(e.Status), 10), true
	case fieldDuration:
		return strconv.AppendInt(b, e.Took.Microseconds(), 10), true
	case fieldUpstream:
		if f.Times.Header.IsZero() || f.Times.Sent.IsZero() {
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
		if e.Route != nil {
			v = e.Route.ID
		}
	case fieldOrg:
		if e.Route != nil {
			v = e.Route.Org
		}
	case fieldMethod:
		v = cmp.Or(e.Method, r.Method())
	case fieldHost:
		v = r.Host()
	case fieldPath:
		v, _, _ = strings.Cut(r.URI(), "?")
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
		b = quote(b, cut(h.Name))
		b = append(b, ':')
		b = append(b, h.Outcome.String()...)
		b = append(b, ':')
		b = strconv.AppendInt(b, h.Duration.Microseconds(), 10)
		for left := h.Changed; left != 0; left &= left - 1 {
			if n := l.changes[bits.TrailingZeros32(uint32(left))]; n != "" {
				b = append(append(b, '+'), n...)
			}
		}
	}
	return append(b, '"'), true
}
