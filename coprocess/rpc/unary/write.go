package unary

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

const frameHeader = 9 // bytes

// appendFrame appends a frame's header (RFC 9113 §4.1).
func appendFrame(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func putLength(frame []byte, length int) {
	frame[0], frame[1], frame[2] = byte(length>>16), byte(length>>8), byte(length)
}

func appendSetting(b []byte, id http2.SettingID, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), value)
}

func appendWindowUpdate(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, http2.FrameWindowUpdate, 0, 0), uint32(n))
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, http2.FrameRSTStream, 0, stream), uint32(code))
}

// maxTurns is how often a caller writes, mostly for others, before it leaves that to the writer goroutine.
const maxTurns = 4

// flush has what is pending written, by this goroutine if nobody else writes, and unlocks. A caller that would write
// lets those run first that are ready to: what they add travels in the same system call.
func (c *Conn) flush() {
	if len(c.pending) == 0 || c.writing || c.mute || c.err != nil {
		c.release()
		return
	}
	c.writing = true
	if c.direct == nil {
		c.release()
		c.kick <- struct{}{} // holds one, for the one who may write
		return
	}
	c.release()
	runtime.Gosched()
	c.mu.Lock()
	for turns := 1; c.err == nil && !c.mute && len(c.pending) > 0; turns++ {
		if turns > maxTurns {
			c.release()
			c.kick <- struct{}{}
			return
		}
		before := c.written
		out := c.take()
		c.mu.Unlock()
		n, err := c.direct.write(out)
		c.mu.Lock()
		if err != nil {
			if n == 0 {
				c.written = before // none of it has left
			}
			c.broken(err)
			break
		}
		if n < len(out) {
			c.rest = out[n:]
			c.release()
			c.kick <- struct{}{}
			return
		}
		c.recycle(out)
		c.pump()
	}
	c.writing = false
	c.release()
}

// write is the writer goroutine: it may block where callers may not.
func (c *Conn) write() {
	defer c.owned.Done()
	for {
		select {
		case <-c.kick:
		case <-c.done:
			return
		}
		c.mu.Lock()
		for c.err == nil && !c.mute && len(c.rest)+len(c.pending) > 0 {
			out := c.rest
			if c.rest = nil; out == nil {
				out = c.take()
			}
			c.mu.Unlock()
			_, err := c.nc.Write(out)
			c.mu.Lock()
			if err != nil {
				c.broken(err)
				break
			}
			c.recycle(out)
			c.pump()
		}
		c.writing = false
		c.release()
	}
}

// take takes what is to be written.
func (c *Conn) take() []byte {
	out := c.pending
	c.pending, c.spare = c.spare, nil
	c.written = c.nextID - 1
	return out
}

func (c *Conn) recycle(out []byte) {
	if cap(out) <= 2*highWater {
		c.spare = out[:0]
	}
}

// broken is after a failed write. There may be replies to read that the peer sent before it left, so the end of the
// connection is the reader's to find. What was not written never will be, and may go elsewhere.
func (c *Conn) broken(err error) {
	c.mute, c.pending, c.rest = true, nil, nil
	err = fmt.Errorf("write: %w", err)
	c.leave(err)
	for id, call := range c.streams {
		if id > c.written {
			c.settle(call, &Error{Code: codes.Unavailable, Message: err.Error(), NotSent: true, Gone: true})
		}
	}
}

// pump appends what waits for room: the rest of messages in turn, then new calls.
func (c *Conn) pump() {
	for more := len(c.blocked) > 0; more; {
		more = false
		left := c.blocked[:0]
		for _, call := range c.blocked {
			more = c.sendSome(call) || more
			if !call.allSent() {
				left = append(left, call)
			}
		}
		clear(c.blocked[len(left):])
		c.blocked = left
	}
	for len(c.waiting) > 0 && c.mayBegin() {
		call := c.waiting[0]
		c.waiting = without(c.waiting, call)
		c.start(call)
	}
}
