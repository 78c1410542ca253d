package wire

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// HookOutcome is how one hook of a call went.
type HookOutcome struct {
	Hook     uint32 // index in the binding
	Duration time.Duration
	Changed  sdk.Change
}

// LogLine is a line a hook wrote.
type LogLine struct {
	Hook    uint32 // index in the binding
	Level   slog.Level
	Message string
}

// Counter is what a hook added to a counter of its own.
type Counter struct {
	Hook  uint32 // index in the binding
	Name  string
	Delta int64
}

// effects is what hooks changed, merged in order. Strings, bodies and values are the exchange's.
type effects struct {
	changed             sdk.Change
	method, path, query string
	headers, response   []sdk.HeaderOp
	body, responseBody  []byte
	session             *sdk.Session
	values              []sdk.Value
	status              int
	answer              []byte // fields of a Response, without body
}

func (e *effects) reset() effects {
	clear(e.headers)
	clear(e.response)
	clear(e.values)
	return effects{headers: e.headers[:0], response: e.response[:0], values: e.values[:0], answer: e.answer[:0]}
}

// Done takes what the hook did that was just run on x with that result, and reports whether the binding's next hook
// is to be run: not after an error, a change no HTTP message could carry, or an answer in a request phase. What a hook
// changed that did not end well is not taken.
func (in *Incoming) Done(x *sdk.Exchange, took time.Duration, err error) bool {
	if err == nil {
		if err = x.Invalid(); err != nil {
			err = errors.Join(sdk.ErrProtocol, err)
		}
	}
	outcome := HookOutcome{Hook: in.hook, Duration: took}
	if err == nil {
		outcome.Changed = x.Changes()
		in.effects.take(x)
	}
	in.err = err
	in.outcomes = append(in.outcomes, outcome)
	in.hook++
	return err == nil && (outcome.Changed&sdk.ChangedAnswer == 0 || x.Phase() == sdk.ResponsePhase)
}

func (e *effects) take(x *sdk.Exchange) {
	changed := x.Changes()
	r, reply := x.Request(), x.Response()
	if changed&sdk.ChangedMethod != 0 {
		e.method = r.Method()
	}
	if changed&sdk.ChangedPath != 0 {
		e.path = r.Path()
	}
	if changed&sdk.ChangedQuery != 0 {
		e.query = r.Query().Raw()
	}
	e.headers = append(e.headers, r.Header().HeaderOps()...)
	if changed&sdk.ChangedBody != 0 {
		e.body = r.Body()
	}
	if changed&sdk.ChangedSession != 0 {
		e.session = x.Session()
	}
	if changed&sdk.ChangedValues != 0 {
		e.takeValues(x.Values())
	}
	const replyChanges = sdk.ChangedStatus | sdk.ChangedResponseHeader | sdk.ChangedResponseBody
	if changed&sdk.ChangedAnswer != 0 { // it replaces whatever was done to the reply before
		e.changed &^= replyChanges
		changed &^= replyChanges
		e.answer = appendUint(e.answer[:0], 1, uint64(reply.Status()))
		e.answer = appendFields(e.answer, 2, reply.Header().Fields(), nil)
		e.answer = appendSome(e.answer, 3, reply.Body())
		clear(e.response)
		e.response = e.response[:0]
	} else {
		e.response = append(e.response, reply.Header().HeaderOps()...)
	}
	if changed&sdk.ChangedStatus != 0 {
		e.status = reply.Status()
	}
	if changed&sdk.ChangedResponseBody != 0 {
		e.responseBody = reply.Body()
	}
	e.changed |= changed
}

func (e *effects) takeValues(values []sdk.Value) {
next:
	for i := range values {
		v := &values[i]
		if !v.Changed() {
			continue
		}
		for j := range e.values {
			if e.values[j].Name == v.Name {
				e.values[j].Data = v.Data
				continue next
			}
		}
		e.values = append(e.values, sdk.Value{Name: v.Name, Data: v.Data})
	}
}

func (e *effects) append(b []byte) []byte {
	if e.changed&sdk.ChangedMethod != 0 {
		b = appendBytes(b, 1, e.method)
	}
	if e.changed&sdk.ChangedPath != 0 {
		b = appendBytes(b, 2, e.path)
	}
	if e.changed&sdk.ChangedQuery != 0 {
		b = appendBytes(b, 3, e.query)
	}
	b = appendHeaderOps(b, 4, e.headers)
	if e.changed&sdk.ChangedBody != 0 {
		b = appendBytes(b, 5, e.body)
	}
	if e.changed&sdk.ChangedSession != 0 {
		if e.session == nil {
			b = appendBool(b, 7, true)
		} else {
			b = appendSession(b, 6, e.session)
		}
	}
	for i := range e.values {
		b = appendValue(b, 8, &e.values[i])
	}
	if e.changed&sdk.ChangedAnswer != 0 {
		b = appendBytes(b, 9, e.answer)
	}
	if e.changed&sdk.ChangedStatus != 0 {
		b = appendVarint(appendKey(b, 10, varint), uint64(e.status))
	}
	b = appendHeaderOps(b, 11, e.response)
	if e.changed&sdk.ChangedResponseBody != 0 {
		b = appendBytes(b, 12, e.responseBody)
	}
	return b
}

func appendHeaderOps(b []byte, number uint64, ops []sdk.HeaderOp) []byte {
	for i := range ops {
		op := &ops[i]
		name := valid(op.Name)
		size := 2 + 1 + sizeBytes(len(name))
		if op.Kind != sdk.HeaderDel {
			size += 1 + sizeBytes(len(op.Value))
		}
		b = appendVarint(appendKey(b, number, length), uint64(size))
		b = append(b, byte(1<<3|varint), byte(op.Kind))
		b = appendBytes(b, 2, name)
		if op.Kind != sdk.HeaderDel {
			b = appendBytes(b, 3, op.Value)
		}
	}
	return b
}

func appendValue(b []byte, number uint64, v *sdk.Value) []byte {
	b, at := open(b, number, len(v.Name)+len(v.Data)+8)
	b = appendText(b, 1, v.Name)
	if v.Data != nil {
		b = appendBytes(b, 2, v.Data)
	}
	return shut(b, at)
}

// AppendReply appends the call's reply as a field of a PluginFrame: the effects of the hooks that ended well, and what
// the last one returned when it did not.
func (in *Incoming) AppendReply(b []byte) []byte {
	e := &in.effects
	b, at := open(b, 3, 200+len(e.body)+len(e.answer)+len(e.responseBody))
	b = appendUint(b, 1, in.ID)
	if e.changed != 0 {
		var m mark
		b, m = open(b, 2, 100+len(e.body)+len(e.answer)+len(e.responseBody))
		b = shut(e.append(b), m)
	}
	if in.err != nil {
		b = appendOutcomeError(b, in.err)
	}
	for i := range in.outcomes {
		o := &in.outcomes[i]
		var m mark
		b, m = open(b, 5, 10)
		b = appendUint(b, 1, uint64(o.Hook))
		b = appendUint(b, 2, uint64(max(o.Duration, 0)/time.Microsecond))
		b = shut(appendUint(b, 3, uint64(o.Changed)), m)
	}
	for i := range in.logs {
		l := &in.logs[i]
		var m mark
		b, m = open(b, 6, 100)
		b = appendUint(b, 1, uint64(l.Hook))
		b = appendSint(b, 2, int64(l.Level))
		b = shut(appendText(b, 3, l.Message), m)
	}
	for i := range in.counters {
		c := &in.counters[i]
		var m mark
		b, m = open(b, 7, 30)
		b = appendUint(b, 1, uint64(c.Hook))
		b = appendText(b, 2, c.Name)
		b = shut(appendSint(b, 3, c.Delta), m)
	}
	b = appendUint(b, 8, uint64(max(in.Queued, 0)/time.Microsecond))
	return shut(b, at)
}

// AppendFailure appends the reply to a call that no hook was run for, or whose hook is not waited for any longer.
func AppendFailure(b []byte, id uint64, err error) []byte {
	b, at := open(b, 3, 100)
	b = appendUint(b, 1, id)
	return shut(appendOutcomeError(b, err), at)
}

func appendOutcomeError(b []byte, err error) []byte {
	if refused, ok := errors.AsType[*sdk.Error](err); ok {
		b, at := open(b, 3, 200)
		b = appendInt(b, 1, int64(refused.Status))
		b = appendText(b, 2, refused.Message)
		b = appendFields(b, 3, refused.Header, nil)
		return shut(b, at)
	}
	b, at := open(b, 4, 100)
	b = appendUint(b, 1, uint64(codeOf(err)))
	b = appendText(b, 2, clip(err.Error()))
	return shut(b, at)
}

// FailureCode says why a call gave no result; the numbers are the protocol's.
type FailureCode uint32

// The failures of a call.
const (
	FailureFailed        FailureCode = 1
	FailureTimeout       FailureCode = 2
	FailureCanceled      FailureCode = 3
	FailureUnimplemented FailureCode = 4
	FailureOverloaded    FailureCode = 5
	FailureUnavailable   FailureCode = 6
	FailureProtocol      FailureCode = 7
)

// failures pairs codes with errors, most telling first.
var failures = [...]struct {
	code FailureCode
	err  error
}{
	{FailureTimeout, context.DeadlineExceeded},
	{FailureCanceled, context.Canceled},
	{FailureUnimplemented, sdk.ErrUnimplemented},
	{FailureOverloaded, sdk.ErrOverloaded},
	{FailureUnavailable, sdk.ErrUnavailable},
	{FailureProtocol, sdk.ErrProtocol},
}

func codeOf(err error) FailureCode {
	for i := range failures {
		if errors.Is(err, failures[i].err) {
			return failures[i].code
		}
	}
	return FailureFailed
}
