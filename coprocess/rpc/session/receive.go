package session

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

var errDrained = fmt.Errorf("%w: session was drained", sdk.ErrUnavailable)

// incoming is a decoded plugin frame. Its memory is used again; the replies' bytes are not.
type incoming struct {
	frame   wire.PluginFrame
	replies []reply
	calls   []*Call // that have their results
}

type reply struct {
	id   uint64
	body []byte
}

// receive reads frames until the stream ends.
func (s *Session) receive() {
	defer s.owned.Done()
	var (
		in    incoming
		first = true
		err   error
	)
	for err == nil {
		var m rawcodec.In
		if err = s.stream.RecvMsg(&m); err != nil {
			err = ended(err)
			break
		}
		if err = in.decode(m.Data); err != nil {
			break
		}
		s.deliver(&in)
		if first {
			close(s.ready)
			first = false
		}
	}
	s.fail(err)
	s.cancel(err) // frees the stream when it was our own verdict
	close(s.done)
}

// ended says what the end of the stream means for calls.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: server ended the session", sdk.ErrUnavailable)
	case status.Code(err) == codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", sdk.ErrProtocol, err)
	case status.Code(err) == codes.Unimplemented:
		return fmt.Errorf("%w: %w", sdk.ErrUnimplemented, err)
	}
	return fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
}

// decode reads a plugin frame.
func (in *incoming) decode(b []byte) error {
	clear(in.replies)
	in.replies = in.replies[:0]
	var err error
	if in.frame, err = wire.ScanPluginFrame(b); err != nil {
		return err
	}
	for id, body := range in.frame.Replies() {
		in.replies = append(in.replies, reply{id, body})
	}
	return nil
}

// deliver acts on a frame: it settles the calls that were answered and sends what may be sent now.
func (s *Session) deliver(in *incoming) {
	now := s.Now()
	s.mu.Lock()
	for s.acked < in.frame.Ack && in.frame.Ack <= s.seq { // one above what was sent has no meaning
		s.acked++
		s.doubted = false
		s.inFlight -= s.frames[s.acked%uint64(len(s.frames))].size
	}
	if in.frame.Credit > 0 {
		s.credit = int(min(in.frame.Credit, maxCalls))
	}
	for i := range in.replies {
		if c := s.answered(&in.replies[i]); c != nil {
			c.Times.Replied = now
			in.calls = append(in.calls, c)
		}
	}
	if in.frame.Drain {
		in.calls = append(in.calls, s.drain()...)
	}
	s.fill(now)
	f := s.take(now)
	s.weigh()
	s.mu.Unlock()

	settle(in.calls)
	clear(in.calls)
	in.calls = in.calls[:0]
	if f != nil {
		s.send(f)
	}
	if in.frame.Drain || len(in.replies) > 0 {
		s.endIfDrained()
	}
}

// answered releases the credit of the call that r answers and returns the call, nil when nobody waits for it.
func (s *Session) answered(r *reply) *Call {
	at := r.id & (maxCalls - 1)
	if at >= uint64(len(s.table)) {
		s.stats.Unknown++
		return nil
	}
	e := &s.table[at]
	c := e.call
	if !e.live || e.gen != r.id>>indexBits || e.seq > s.seq {
		s.stats.Unknown++
		return nil
	}
	s.leaveTable(uint32(at))
	if c == nil {
		s.stats.Late++
		return nil
	}
	s.stats.Replies++
	if len(r.body) > s.limits.ReplyBytes {
		c.err = fmt.Errorf("%w: reply of %d bytes is over the limit of %d", sdk.ErrProtocol, len(r.body), s.limits.ReplyBytes)
		return c
	}
	c.Reply = r.body
	return c
}

func (s *Session) leaveTable(at uint32) {
	e := &s.table[at]
	e.live, e.call = false, nil
	s.free = append(s.free, at)
	s.outstanding--
}

// drain stops taking calls and returns those that were not sent, their error set. It wants the lock.
func (s *Session) drain() []*Call {
	if s.draining || s.err != nil {
		return nil
	}
	s.draining = true
	s.quit()
	unsent := s.unsent(fmt.Errorf("%w: %w: session is draining", ErrNotSent, sdk.ErrUnavailable))
	s.weigh()
	return unsent
}

// quit tells the owner that the session is to be replaced. It wants the lock.
func (s *Session) quit() {
	if !s.left {
		s.left = true
		close(s.leave)
	}
}

// unsent takes every call that is not in a frame that left off the session's lists, with err as its result.
func (s *Session) unsent(err error) []*Call {
	var calls []*Call
	for at := range s.table {
		e := &s.table[at]
		if !e.live || e.seq <= s.seq {
			continue
		}
		if e.call != nil {
			e.call.err = err
			calls = append(calls, e.call)
		}
		s.leaveTable(uint32(at))
	}
	for s.waiting.len() > 0 {
		c := s.waiting.pop()
		c.err = err
		calls = append(calls, c)
	}
	s.pending.discard()
	return calls
}

// endIfDrained half-closes the stream when the session drains and everything has been said.
func (s *Session) endIfDrained() {
	s.mu.Lock()
	if !s.draining || !s.drainSent || s.outstanding > 0 || s.sending || s.closeSent || s.err != nil {
		s.mu.Unlock()
		return
	}
	s.closeSent = true // take gives no more frames
	s.mu.Unlock()
	if err := s.stream.CloseSend(); err != nil {
		s.fail(fmt.Errorf("%w: %w", sdk.ErrUnavailable, err))
	}
}

// fail ends the session: calls that were sent fail with err, the others may go elsewhere.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	if s.closeSent && s.outstanding == 0 {
		err = errDrained
	}
	s.quit()
	calls := s.unsent(fmt.Errorf("%w: %w", ErrNotSent, err))
	for at := range s.table {
		if e := &s.table[at]; e.live {
			if e.call != nil {
				e.call.err = err
				calls = append(calls, e.call)
			}
			s.leaveTable(uint32(at))
		}
	}
	s.err = err
	s.weigh()
	s.mu.Unlock()
	settle(calls)
	s.cancel(err)
}
