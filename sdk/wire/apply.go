package wire

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Result is what a reply tells beside its effects. Its memory is used again by the next [ApplyReply].
type Result struct {
	Outcomes []HookOutcome // one per hook that ran, the one that failed included
	Logs     []LogLine
	Counters []Counter
	Queued   time.Duration // on the server, before the first hook
}

func (r *Result) reset() {
	clear(r.Logs)
	clear(r.Counters)
	r.Outcomes, r.Logs, r.Counters, r.Queued = r.Outcomes[:0], r.Logs[:0], r.Counters[:0], 0
}

// Failure is the error of a call whose hook gave no result. It unwraps to the sdk.Err… or context error of its code.
type Failure struct {
	Code    FailureCode
	Message string // for the log, never for the client
}

// Error returns what the server said.
func (f *Failure) Error() string { return fmt.Sprintf("plugin failed (%d): %s", f.Code, f.Message) }

// Unwrap returns the error that stands for the code; nil for a hook's own failure and unknown codes.
func (f *Failure) Unwrap() error {
	for i := range failures {
		if failures[i].code == f.Code {
			return failures[i].err
		}
	}
	return nil
}

// ApplyReply makes the changes of a reply (one of [PluginFrame.Replies]) to x through its mutators, so that what no
// HTTP message can carry surfaces in [sdk.Exchange.Invalid], and fills r. The effects are those of the hooks that ended
// well; the error is what the one after them returned: an [*sdk.Error] or a [*Failure]. A reply that is malformed or
// over a bound wraps [sdk.ErrProtocol] itself, is no [*Failure], and has changed nothing. Everything is copied.
func ApplyReply(b []byte, x *sdk.Exchange, r *Result) error {
	r.reset()
	var v replyView
	if err := v.scan(b, r); err != nil {
		r.reset()
		return garbage("reply", err)
	}
	v.apply(x)
	switch {
	case v.refused != nil:
		return v.refused
	case v.failure.set:
		return v.failed()
	}
	return nil
}

// replyView is a reply found well-formed. It aliases the reply.
type replyView struct {
	effects part
	errored part
	failure part
	refused *sdk.Error

	method, path, query, body, responseBody []byte
	has                                     sdk.Change // of those above, and status
	status                                  int32
	session                                 part
	decoded                                 *sdk.Session
	clear                                   bool
	answer                                  part
	reply                                   responseView
	headers, responses, values              int
	size                                    int // of the strings to copy
}

func (v *replyView) scan(b []byte, r *Result) error {
	c := cursor{msg: b}
	for c.next() {
		var err error
		switch c.key {
		case 2<<3 | length:
			v.effects.merge(c.val())
		case 3<<3 | length:
			v.errored.merge(c.val())
		case 4<<3 | length:
			v.failure.merge(c.val())
		case 5<<3 | length:
			err = r.outcome(c.val())
		case 6<<3 | length:
			err = r.log(c.val())
		case 7<<3 | length:
			err = r.count(c.val())
		case 8<<3 | varint:
			r.Queued = micros(c.num)
		}
		if err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	if err := v.scanEffects(); err != nil {
		return err
	}
	if err := wellFormed(v.failure.b); err != nil {
		return err
	}
	return v.scanError()
}

func micros(n uint64) time.Duration {
	return time.Duration(min(n, uint64(maxTimeout/time.Microsecond))) * time.Microsecond
}

func (v *replyView) scanEffects() error {
	c := cursor{msg: v.effects.b}
	for c.next() {
		if v.scalar(&c) {
			continue
		}
		var err error
		switch c.key {
		case 4<<3 | length:
			v.headers++
			err = v.headerOp(c.val())
		case 6<<3 | length:
			v.session.merge(c.val())
		case 8<<3 | length:
			v.values++
			err = wellFormed(c.val())
		case 9<<3 | length:
			v.answer.merge(c.val())
		case 11<<3 | length:
			v.responses++
			err = v.headerOp(c.val())
		}
		if err == nil && (v.headers > MaxChanges || v.responses > MaxChanges || v.values > MaxItems) {
			err = errTooMany
		}
		if err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	var err error
	if v.session.set {
		if v.decoded, err = decodeSession(v.session.b); err != nil {
			return err
		}
	}
	v.reply, err = scanResponse(v.answer.b)
	v.size += len(v.method) + len(v.path) + len(v.query) + len(v.answer.b) - len(v.reply.body)
	return err
}

func (v *replyView) scalar(c *cursor) bool {
	switch c.key {
	case 1<<3 | length:
		v.method, v.has = c.val(), v.has|sdk.ChangedMethod
	case 2<<3 | length:
		v.path, v.has = c.val(), v.has|sdk.ChangedPath
	case 3<<3 | length:
		v.query, v.has = c.val(), v.has|sdk.ChangedQuery
	case 5<<3 | length:
		v.body, v.has = c.val(), v.has|sdk.ChangedBody
	case 7<<3 | varint:
		v.clear = c.num != 0
	case 10<<3 | varint:
		v.status, v.has = int32(c.num), v.has|sdk.ChangedStatus
	case 12<<3 | length:
		v.responseBody, v.has = c.val(), v.has|sdk.ChangedResponseBody
	default:
		return false
	}
	return true
}

// headerOp checks one change of a header.
func (v *replyView) headerOp(b []byte) error {
	kind, name, value, err := headerOpOf(b)
	if err == nil && (kind < sdk.HeaderSet || kind > sdk.HeaderDel) {
		err = fmt.Errorf("unknown header change %d", kind)
	}
	v.size += len(name) + len(value)
	return err
}

func headerOpOf(b []byte) (kind sdk.HeaderOpKind, name, value []byte, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			kind = sdk.HeaderOpKind(min(c.num, 255))
		case 2<<3 | length:
			name = c.val()
		case 3<<3 | length:
			value = c.val()
		}
	}
	return kind, name, value, c.err
}

func (v *replyView) apply(x *sdk.Exchange) {
	text := arena{size: v.size}
	q := x.Request()
	if v.has&sdk.ChangedMethod != 0 {
		q.SetMethod(text.str(v.method))
	}
	if v.has&sdk.ChangedPath != 0 {
		q.SetPath(text.str(v.path))
	}
	if v.has&sdk.ChangedQuery != 0 {
		q.Query().SetRaw(text.str(v.query))
	}
	if v.headers > 0 {
		v.replay(4, q.Header(), &text)
	}
	if v.has&sdk.ChangedBody != 0 {
		q.SetBody(slices.Clone(v.body))
	}
	if v.clear {
		x.SetSession(nil)
	}
	if v.decoded != nil {
		x.SetSession(v.decoded)
	}
	if v.values > 0 {
		v.setValues(x)
	}
	v.applyReply(x, &text)
}

func (v *replyView) replay(number uint64, h *sdk.Header, text *arena) {
	for c := (cursor{msg: v.effects.b}); c.next(); {
		if c.key != number<<3|length {
			continue
		}
		kind, name, value, _ := headerOpOf(c.val())
		switch kind {
		case sdk.HeaderSet:
			h.Set(text.str(name), text.str(value))
		case sdk.HeaderAdd:
			h.Add(text.str(name), text.str(value))
		case sdk.HeaderDel:
			h.Del(text.str(name))
		}
	}
}

func (v *replyView) setValues(x *sdk.Exchange) {
	for c := (cursor{msg: v.effects.b}); c.next(); {
		if c.key == 8<<3|length {
			name, data, has := valueOf(c.val())
			if has {
				data = append(make([]byte, 0, len(data)), data...) // present and empty is not taken away
			}
			x.SetValue(string(name), data)
		}
	}
}

func (v *replyView) applyReply(x *sdk.Exchange, text *arena) {
	if v.answer.set {
		header := x.Answer(int(v.reply.status), slices.Clone(v.reply.body)).Header()
		v.reply.each(func(name, value []byte) { header.Add(text.str(name), text.str(value)) })
	}
	if v.has&sdk.ChangedStatus != 0 {
		x.Response().SetStatus(int(v.status))
	}
	if v.responses > 0 {
		v.replay(11, x.Response().Header(), text)
	}
	if v.has&sdk.ChangedResponseBody != 0 {
		x.Response().SetBody(slices.Clone(v.responseBody))
	}
}

func (v *replyView) scanError() error {
	if !v.errored.set {
		return nil
	}
	e := &sdk.Error{}
	text := arena{size: len(v.errored.b)}
	c := cursor{msg: v.errored.b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			e.Status = int(int32(c.num))
		case 2<<3 | length:
			e.Message = text.str(c.val())
		case 3<<3 | length:
			name, value, err := entry(c.val())
			if err == nil && len(e.Header) == MaxFields {
				err = errTooMany
			}
			if err != nil {
				return err
			}
			e.Header = append(e.Header, sdk.Field{Name: text.str(name), Value: text.str(value)})
		}
	}
	if c.err != nil {
		return c.err
	}
	v.refused = e
	return checkError(e)
}

// checkError reports an error no client could be sent.
func checkError(e *sdk.Error) error {
	if e.Status < 400 || e.Status > 599 {
		return fmt.Errorf("status %d of an error: want 400 to 599", e.Status)
	}
	for _, f := range e.Header {
		if !sdk.ValidToken(f.Name) || !sdk.ValidFieldValue(f.Value) {
			return fmt.Errorf("invalid header %.64q of an error", f.Name)
		}
	}
	return nil
}

func (v *replyView) failed() error {
	f := &Failure{Code: FailureFailed}
	for c := (cursor{msg: v.failure.b}); c.next(); {
		switch c.key {
		case 1<<3 | varint:
			f.Code = FailureCode(c.num)
		case 2<<3 | length:
			f.Message = clip(string(c.val()[:min(len(c.val()), MaxLogBytes)]))
		}
	}
	return f
}

func (r *Result) outcome(b []byte) error {
	var o HookOutcome
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			o.Hook = uint32(c.num)
		case 2<<3 | varint:
			o.Duration = micros(c.num)
		case 3<<3 | varint:
			o.Changed = sdk.Change(c.num)
		}
	}
	if len(r.Outcomes) < MaxHooks {
		r.Outcomes = append(r.Outcomes, o)
	}
	return c.err
}

func (r *Result) log(b []byte) error {
	var l LogLine
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			l.Hook = uint32(c.num)
		case 2<<3 | varint:
			l.Level = slog.Level(int32(protowire.DecodeZigZag(c.num & 0xffffffff)))
		case 3<<3 | length:
			l.Message = string(c.val()[:min(len(c.val()), MaxLogBytes)])
		}
	}
	if len(r.Logs) < MaxNotes {
		r.Logs = append(r.Logs, l)
	}
	return c.err
}

func (r *Result) count(b []byte) error {
	var n Counter
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			n.Hook = uint32(c.num)
		case 2<<3 | length:
			n.Name = string(c.val()[:min(len(c.val()), 256)])
		case 3<<3 | varint:
			n.Delta = protowire.DecodeZigZag(c.num)
		}
	}
	if len(r.Counters) < MaxNotes {
		r.Counters = append(r.Counters, n)
	}
	return c.err
}
