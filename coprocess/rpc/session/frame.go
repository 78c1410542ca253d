package session

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/mem"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

const (
	frameMemory = 8 << 10  // what a frame's buffer starts with
	largeBody   = 16 << 10 // a call at least this long is its own buffer in the frame, not copied into it
	sendInPlace = 24 << 10 // unacknowledged bytes up to which sending cannot block: see the package comment
	indexBits   = 14       // of a call's id that say where in the table it is
	maxCalls    = 1 << indexBits
)

// frame is a host frame that fills up.
type frame struct {
	full  mem.BufferSlice // finished buffers, in order
	buf   *[]byte         // the buffer that grows; nil: none yet
	calls []*Call
	size  int
	out   rawcodec.Out
	done  []chan struct{} // closed when it has been sent
	large bool            // sending it may block
}

func (f *frame) empty() bool { return f.size == 0 }

// memory returns the buffer to append to; a frame begins with its number.
func (f *frame) memory(seq uint64) []byte {
	if f.buf == nil {
		f.buf = bufferPool().Get(frameMemory)
		*f.buf = (*f.buf)[:0]
		if len(f.full) == 0 {
			f.keep(wire.AppendSeq(*f.buf, seq))
		}
	}
	return *f.buf
}

func (f *frame) keep(b []byte) {
	f.size += len(b) - len(*f.buf)
	*f.buf = b
}

// attach makes b the next part of the frame without copying it.
func (f *frame) attach(b []byte) {
	f.finish()
	f.full = append(f.full, mem.SliceBuffer(b))
	f.size += len(b)
}

// finish closes the buffer that grows.
func (f *frame) finish() {
	if f.buf == nil {
		return
	}
	f.full = append(f.full, mem.NewBuffer(f.buf, bufferPool()))
	f.buf = nil
}

// reset makes the frame ready to be filled again; its buffers are gRPC's by now.
func (f *frame) reset() {
	clear(f.calls)
	clear(f.done)
	f.full, f.buf, f.calls, f.size, f.done, f.large = nil, nil, f.calls[:0], 0, f.done[:0], false
	f.out = rawcodec.Out{}
}

// discard is reset for a frame that will not be sent.
func (f *frame) discard() {
	f.finish()
	f.full.Free()
	f.reset()
}

// entry is a place for an outstanding call. Ids hold place and generation, so that a late reply never meets another
// call.
type entry struct {
	gen  uint64
	seq  uint64 // of the frame it leaves in; above the session's it has not left
	call *Call  // nil when nobody waits for the reply any more
	left int64  // when that began
	live bool
}

// sentFrame is a frame that the server has not acknowledged.
type sentFrame struct {
	size int
	at   int64 // when it left
}

// admit takes a call on: into the pending frame, or into the queue. It wants the lock.
func (s *Session) admit(c *Call) error {
	switch {
	case s.err != nil:
		return fmt.Errorf("%w: %w", ErrNotSent, s.err)
	case s.draining:
		return fmt.Errorf("%w: %w: session is draining", ErrNotSent, sdk.ErrUnavailable)
	case len(c.Body)+len(c.Binding.Field)+maxHeader+2*maxFieldKey > s.limits.FrameBytes:
		return fmt.Errorf("%w: message of %d bytes is over the limit of %d: buffer less of bodies or raise the server's limit",
			sdk.ErrProtocol, len(c.Body), s.limits.FrameBytes)
	}
	if s.waiting.len() == 0 && s.room(c) {
		s.encode(c, c.Times.Begun)
		return nil
	}
	if s.waiting.len() >= s.limits.Queue {
		return fmt.Errorf("%w: %w: %d calls wait for credit already", ErrNotSent, sdk.ErrOverloaded, s.waiting.len())
	}
	s.waiting.push(c)
	return nil
}

// room reports whether the call may join the pending frame.
func (s *Session) room(c *Call) bool {
	if s.outstanding >= min(s.credit, maxCalls) {
		return false
	}
	if s.pending.empty() {
		return true
	}
	return len(s.pending.calls) < s.limits.FrameCalls &&
		s.pending.size+len(c.Body)+len(c.Binding.Field)+maxHeader+2*maxFieldKey <= s.limits.FrameBytes
}

// encode appends the call to the pending frame, its binding before it when the server does not know that yet.
func (s *Session) encode(c *Call, now int64) {
	f := s.pending
	b := f.memory(s.seq + 1)
	if c.Binding.ID/64 >= uint32(len(s.bound)) || s.bound[c.Binding.ID/64]&(1<<(c.Binding.ID%64)) == 0 {
		b = append(b, c.Binding.Field...)
		s.bind(c.Binding.ID)
	}
	b = appendHeader(b, c, s.enter(c), now)
	if len(c.Body) < largeBody {
		f.keep(append(b, c.Body...))
	} else {
		f.keep(b)
		f.attach(c.Body)
		c.lent = true
	}
	f.calls = append(f.calls, c)
}

func (s *Session) bind(id uint32) {
	for id/64 >= uint32(len(s.bound)) {
		s.bound = append(s.bound, 0)
	}
	s.bound[id/64] |= 1 << (id % 64)
	if s.known++; s.known == s.limits.Bindings {
		s.quit()
	}
}

// enter gives the call an id.
func (s *Session) enter(c *Call) uint64 {
	var at uint32
	if n := len(s.free); n > 0 {
		at, s.free = s.free[n-1], s.free[:n-1]
	} else {
		at = uint32(len(s.table))
		s.table = append(s.table, entry{})
	}
	e := &s.table[at]
	e.gen++
	e.call, e.live, e.seq = c, true, s.seq+1
	s.outstanding++
	s.entered++
	return e.gen<<indexBits | uint64(at)
}

// fill moves waiting calls into the pending frame as far as credit and room go. It wants the lock.
func (s *Session) fill(now int64) {
	for s.waiting.len() > 0 && !s.draining && s.err == nil && s.room(s.waiting.peek()) {
		s.encode(s.waiting.pop(), now)
	}
}

// take returns the pending frame when it may be sent now, for the caller to send; else nil. It wants the lock.
func (s *Session) take(now int64) *frame {
	if s.sending || s.err != nil || s.closeSent || s.seq-s.acked >= uint64(s.limits.Window) {
		return nil
	}
	f := s.pending
	tellDrain := s.draining && !s.drainSent
	if f.empty() && len(s.cancels) == 0 && len(s.batches) == 0 && !tellDrain {
		return nil
	}
	s.seq++
	b := f.memory(s.seq)
	for _, id := range s.cancels {
		b = wire.AppendCancel(b, id)
	}
	s.cancels = s.cancels[:0]
	if tellDrain {
		b = wire.AppendHostDrain(b)
		s.drainSent = true
	}
	f.keep(b)
	if len(s.batches) > 0 && (len(f.calls) == 0 || f.size+len(s.batches[0].fields) <= s.limits.FrameBytes) {
		s.attachBatch(f)
	}
	f.finish()
	sent := 0
	for _, c := range f.calls {
		if c != nil {
			c.Times.Sent = now
			sent++
		}
	}
	s.stats.Frames++
	if len(f.calls) > 0 {
		s.stats.CallFrames++
		s.stats.Calls += uint64(sent)
	}
	s.frames[s.seq%uint64(len(s.frames))] = sentFrame{f.size, now}
	s.inFlight += f.size
	if f.large = s.inFlight > sendInPlace; f.large {
		s.owned.Add(1) // the receiver is still counted there, or err would be set
	}
	s.pending, s.spare, s.sending = s.spare, nil, true
	s.fill(now)
	return f
}

// send sends the frame that take returned, and what has become sendable meanwhile.
func (s *Session) send(f *frame) {
	for f != nil {
		if f.large {
			go func() {
				defer s.owned.Done()
				s.send(s.transmit(f))
			}()
			return
		}
		f = s.transmit(f)
	}
}

// transmit hands the frame to gRPC and returns the next one that may go.
func (s *Session) transmit(f *frame) *frame {
	f.out.Buffers = f.full
	err := s.stream.SendMsg(&f.out)
	for _, c := range f.done {
		close(c)
	}
	now := s.Now()
	s.mu.Lock()
	f.reset()
	s.spare, s.sending = f, false
	var next *frame
	if err == nil {
		next = s.take(now)
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.endIfDrained()
	case !errors.Is(err, io.EOF): // with EOF the receiver learns why the stream is over
		s.fail(fmt.Errorf("%w: %w", sdk.ErrUnavailable, err))
	}
	return next
}
