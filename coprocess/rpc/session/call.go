package session

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// Binding is what calls refer to by number.
type Binding struct {
	ID    uint32
	Field []byte // as wire.AppendBinding appends it
}

// Call is one call: what to send, then what came back. It may be used again when Do has returned, and keeps its memory
// for that. Not safe for concurrent use.
type Call struct {
	Binding *Binding
	Body    []byte // the encoded message without id, binding and timeout; see Encode

	Reply []byte // for wire.ApplyReply; memory that is the caller's to keep
	Times Times

	ctx      context.Context
	deadline int64 // 0: none
	done     chan struct{}
	err      error
	lent     bool // Body is in a frame
	memory   []byte
}

// Times are moments of a call in nanoseconds of the session's own clock; their differences mean something.
type Times struct{ Begun, Sent, Replied int64 }

// Encode makes Body of what the hooks need of x.
func (c *Call) Encode(x *sdk.Exchange, needs sdk.Needs) {
	c.memory = wire.AppendCall(c.memory[:0], wire.CallHeader{}, x, needs)
	_, _, key := protowire.ConsumeTag(c.memory)
	_, size := protowire.ConsumeVarint(c.memory[key:])
	c.Body = c.memory[key+size:] // key and length are written again once the header is known
}

// NewCall returns a call to fill.
func NewCall() *Call { return &Call{done: make(chan struct{}, 1)} }

func (c *Call) begin(ctx context.Context, now int64, base time.Time) {
	c.ctx, c.deadline, c.err, c.Reply, c.lent = ctx, 0, nil, nil, false
	c.Times = Times{Begun: now}
	if d, ok := ctx.Deadline(); ok {
		c.deadline = max(1, int64(d.Sub(base)))
	}
}

// end finishes Do: what a frame holds of the call is no longer the call's, unless the frame never left.
func (c *Call) end() error {
	c.ctx = nil
	if c.lent && !errors.Is(c.err, ErrNotSent) {
		c.Body, c.memory = nil, nil
	}
	return c.err
}

// settle gives calls their results, which are in them already.
func settle(calls []*Call) {
	for _, c := range calls {
		c.done <- struct{}{} // holds one, and every call is settled once: by whoever took it off the session's lists
	}
}

// Numbers of the fields that a session writes itself.
const (
	fieldCalls  = 3
	callID      = 1
	callBinding = 2
	callTimeout = 3

	maxHeader   = 3 * 11 // bytes of a call's id, binding and timeout
	maxFieldKey = 11     // bytes of the key and length of a call within its frame
)

// appendHeader appends the fields of a call that the session knows, and the key and length before them.
func appendHeader(b []byte, c *Call, id uint64, now int64) []byte {
	timeout := uint64(0)
	if c.deadline != 0 {
		timeout = uint64(max(c.deadline-now, 1000)) / 1000
	}
	n := 2 + protowire.SizeVarint(id) + protowire.SizeVarint(uint64(c.Binding.ID)) + len(c.Body)
	if timeout > 0 {
		n += 1 + protowire.SizeVarint(timeout)
	}
	b = append(b, fieldCalls<<3|byte(protowire.BytesType))
	b = protowire.AppendVarint(b, uint64(n))
	b = append(b, callID<<3|byte(protowire.VarintType))
	b = protowire.AppendVarint(b, id)
	b = append(b, callBinding<<3|byte(protowire.VarintType))
	b = protowire.AppendVarint(b, uint64(c.Binding.ID))
	if timeout > 0 {
		b = append(b, callTimeout<<3|byte(protowire.VarintType))
		b = protowire.AppendVarint(b, timeout)
	}
	return b
}

// queue is a first-in first-out list of calls that keeps its memory.
type queue struct {
	calls []*Call
	head  int
}

func (q *queue) len() int { return len(q.calls) - q.head }

func (q *queue) push(c *Call) {
	if q.head > 0 && len(q.calls) == cap(q.calls) {
		n := copy(q.calls, q.calls[q.head:])
		clear(q.calls[n:])
		q.calls, q.head = q.calls[:n], 0
	}
	q.calls = append(q.calls, c)
}

func (q *queue) peek() *Call { return q.calls[q.head] }

func (q *queue) pop() *Call {
	c := q.calls[q.head]
	q.calls[q.head] = nil
	q.head++
	if q.head == len(q.calls) {
		q.calls, q.head = q.calls[:0], 0
	}
	return c
}

// filter keeps the calls for which keep returns true, in order.
func (q *queue) filter(keep func(*Call) bool) {
	out := q.calls[:0]
	for _, c := range q.calls[q.head:] {
		if keep(c) {
			out = append(out, c)
		}
	}
	clear(q.calls[len(out):])
	q.calls, q.head = out, 0
}
