package unary

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/net/http2"
)

func (c *Conn) handleSettings(f *frame) error {
	if f.stream != 0 {
		return protocolError("SETTINGS of a stream")
	}
	if f.has(http2.FlagSettingsAck) {
		if len(f.payload) != 0 {
			return &connError{http2.ErrCodeFrameSize, "an acknowledgement of SETTINGS with content"}
		}
		return nil
	}
	if len(f.payload)%6 != 0 {
		return &connError{http2.ErrCodeFrameSize, "SETTINGS that are cut short"}
	}
	for b := f.payload; len(b) > 0; b = b[6:] {
		if err := c.set(http2.SettingID(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])); err != nil {
			return err
		}
	}
	c.pending = appendFrame(c.pending, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	if !c.greeted {
		c.greeted = true
		close(c.settled)
	}
	return nil
}

// set takes one setting of the peer (RFC 9113 §6.5.2).
func (c *Conn) set(id http2.SettingID, v uint32) error {
	switch id {
	case http2.SettingHeaderTableSize:
		if v < tableBytes {
			c.request.withoutTable()
		}
	case http2.SettingEnablePush:
		if v != 0 {
			return protocolError("a server that wants to be pushed to")
		}
	case http2.SettingMaxConcurrentStreams:
		c.peerStreams = min(v, maxStreams)
	case http2.SettingInitialWindowSize:
		if v > largestWindow {
			return &connError{http2.ErrCodeFlowControl, "an initial window that is too large"}
		}
		change := int64(v) - c.peerWindow
		c.peerWindow = int64(v)
		for _, call := range c.streams {
			if call.window += change; call.window > largestWindow {
				return &connError{http2.ErrCodeFlowControl, "an initial window that makes another too large"}
			}
		}
	case http2.SettingMaxHeaderListSize:
		c.peerFields = int(min(v, largestWindow))
	case http2.SettingMaxFrameSize:
		if v < 16<<10 || v > 1<<24-1 {
			return protocolError(fmt.Sprintf("a largest frame of %d bytes", v))
		}
		c.peerFrame = int(min(v, highWater/2)) // what is more would only wait longer
	}
	return nil
}

func (c *Conn) handlePing(f *frame) error {
	if f.stream != 0 {
		return protocolError("PING of a stream")
	}
	if len(f.payload) != 8 {
		return &connError{http2.ErrCodeFrameSize, "a PING of odd length"}
	}
	if !f.has(http2.FlagPingAck) {
		c.pending = append(appendFrame(c.pending, 8, http2.FramePing, http2.FlagPingAck, 0), f.payload...)
	}
	return nil
}

// handleGoAway takes no more calls. Those beyond the last stream the peer speaks of it did not and will not process
// (RFC 9113 §6.8).
func (c *Conn) handleGoAway(f *frame) error {
	if f.stream != 0 {
		return protocolError("GOAWAY of a stream")
	}
	if len(f.payload) < 8 {
		return &connError{http2.ErrCodeFrameSize, "GOAWAY that is cut short"}
	}
	last := binary.BigEndian.Uint32(f.payload) & largestWindow
	code := http2.ErrCode(binary.BigEndian.Uint32(f.payload[4:]))
	why := fmt.Errorf("peer has the connection end (%v)", code)
	if debug := f.payload[8:]; len(debug) > 0 {
		why = fmt.Errorf("peer has the connection end (%v: %q)", code, debug[:min(len(debug), 100)])
	}
	c.leave(why)
	for id, call := range c.streams {
		if id > last {
			c.settle(call, &Error{Code: resetError(http2.ErrCodeRefusedStream).Code, Message: why.Error(), NotSent: true, Gone: true})
		}
	}
	return nil
}

func (c *Conn) handleReset(f *frame) error {
	if len(f.payload) != 4 {
		return &connError{http2.ErrCodeFrameSize, "RST_STREAM of odd length"}
	}
	call, err := c.call(f.stream)
	if err != nil || call == nil {
		return err
	}
	err = call.overdue(time.Now()) // the peer knows the deadline too, and may be quicker than the sweeper
	if err == nil {
		err = resetError(http2.ErrCode(binary.BigEndian.Uint32(f.payload)))
	}
	c.settle(call, err)
	return nil
}

func (c *Conn) handleWindowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return &connError{http2.ErrCodeFrameSize, "WINDOW_UPDATE of odd length"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & largestWindow)
	if f.stream == 0 {
		if n == 0 {
			return protocolError("a window that grows by nothing")
		}
		if c.sendWindow += n; c.sendWindow > largestWindow {
			return &connError{http2.ErrCodeFlowControl, "a window that is too large"}
		}
		return nil
	}
	call, err := c.call(f.stream)
	if err != nil || call == nil {
		return err
	}
	if n == 0 {
		c.reset(call, http2.ErrCodeProtocol, garbage("a window that grows by nothing"))
	} else if call.window += n; call.window > largestWindow {
		c.reset(call, http2.ErrCodeFlowControl, garbage("a window that is too large"))
	}
	return nil
}

// reset ends a call that has not ended, and tells the peer.
func (c *Conn) reset(call *Call, code http2.ErrCode, err error) {
	if call.id != 0 {
		c.pending = appendReset(c.pending, call.id, code)
	}
	c.settle(call, err)
}
