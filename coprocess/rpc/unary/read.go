package unary

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// reader is what reading needs. All but buf is guarded by the connection's lock.
type reader struct {
	decoder  *hpack.Decoder
	fields   fields
	block    []byte // of a field list that goes on in CONTINUATION frames
	open     uint32 // its stream; 0: none
	openEnds bool   // it ends the stream
	parts    int
	greeted  bool // the peer's SETTINGS came
}

// frame is one frame as it came.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

func (f *frame) has(flag http2.Flags) bool { return f.flags&flag != 0 }

// read is the reader goroutine.
func (c *Conn) read() {
	defer c.owned.Done()
	buf := make([]byte, readMemory)
	from, to := 0, 0
	var wake []*Call
	for {
		n, err := c.nc.Read(buf[to:])
		to += n
		c.mu.Lock()
		if c.err != nil {
			c.release()
			return
		}
		c.received++
		used, bad := c.parse(buf[from:to])
		from += used
		if from == to {
			from, to = 0, 0
		} else if len(buf)-to < frameHeader+frameBytes {
			to = copy(buf, buf[from:to])
			from = 0
		}
		switch {
		case bad != nil:
			c.goAway(bad)
		case errors.Is(err, io.EOF):
			c.fail(errEnded)
		case err != nil:
			c.fail(fmt.Errorf("read: %w", err))
		}
		c.pump()
		wake = append(wake[:0], c.finished...)
		clear(c.finished)
		c.finished = c.finished[:0]
		c.answer()
		for i, call := range wake {
			call.done <- struct{}{} // holds one, and a call is settled once
			wake[i] = nil
		}
	}
}

var (
	errEnded = errors.New("peer closed the connection")
	errSpent = errors.New("connection has no stream ids left")
)

// answer writes what reading brought about, if any, and unlocks. The reader never blocks in a write.
func (c *Conn) answer() {
	if len(c.pending) == 0 || c.writing || c.mute || c.err != nil {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	c.kick <- struct{}{}
}

// goAway ends the connection because of what the peer did, and tries to tell it.
func (c *Conn) goAway(why error) {
	code := http2.ErrCodeInternal
	if e := (*connError)(nil); errors.As(why, &e) {
		code = e.code
	}
	if !c.writing && c.direct != nil && !c.mute {
		b := binary.BigEndian.AppendUint32(appendFrame(nil, 8, http2.FrameGoAway, 0, 0), 0)
		_, _ = c.direct.write(binary.BigEndian.AppendUint32(b, uint32(code))) // it ends either way
	}
	c.fail(why)
}

// parse handles the whole frames of b and returns how much that was. An error is the connection's.
func (c *Conn) parse(b []byte) (used int, err error) {
	for {
		rest := b[used:]
		if len(rest) < frameHeader {
			return used, nil
		}
		length := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		f := frame{kind: http2.FrameType(rest[3]), flags: http2.Flags(rest[4]), stream: binary.BigEndian.Uint32(rest[5:]) & largestWindow}
		if !c.greeted && (f.kind != http2.FrameSettings || f.has(http2.FlagSettingsAck)) {
			return used, protocolError("it does not begin with SETTINGS")
		}
		if length > frameBytes {
			return used, &connError{http2.ErrCodeFrameSize, fmt.Sprintf("a frame of %d bytes", length)}
		}
		if len(rest) < frameHeader+length {
			return used, nil
		}
		f.payload = rest[frameHeader : frameHeader+length]
		used += frameHeader + length
		if err := c.handle(&f); err != nil {
			return used, err
		}
		if c.err != nil {
			return used, nil
		}
		if len(c.pending) > maxPending {
			return used, &connError{http2.ErrCodeEnhanceYourCalm, "it does not read what it has us answer"}
		}
	}
}

// handle handles one frame.
func (c *Conn) handle(f *frame) error {
	if c.open != 0 && (f.kind != http2.FrameContinuation || f.stream != c.open) {
		return protocolError("a field list is interrupted")
	}
	switch f.kind {
	case http2.FrameData:
		return c.handleData(f)
	case http2.FrameHeaders:
		return c.handleHeaders(f)
	case http2.FrameContinuation:
		return c.handleContinuation(f)
	case http2.FrameRSTStream:
		return c.handleReset(f)
	case http2.FrameSettings:
		return c.handleSettings(f)
	case http2.FramePing:
		return c.handlePing(f)
	case http2.FrameGoAway:
		return c.handleGoAway(f)
	case http2.FrameWindowUpdate:
		return c.handleWindowUpdate(f)
	case http2.FramePushPromise:
		return protocolError("a push that was not asked for")
	case http2.FramePriority:
		if len(f.payload) != 5 {
			return &connError{http2.ErrCodeFrameSize, "a PRIORITY frame of odd length"}
		}
	}
	return nil // what is unknown is ignored: RFC 9113 §5.5
}

// call finds the call of a stream, nil if it has ended. A stream that never was is an error.
func (c *Conn) call(stream uint32) (*Call, error) {
	if call := c.streams[stream]; call != nil {
		return call, nil
	}
	if stream == 0 || stream%2 == 0 || stream >= c.nextID {
		return nil, protocolError(fmt.Sprintf("a frame of stream %d, which there never was", stream))
	}
	return nil, nil
}

// content is the payload without padding (RFC 9113 §6.1) and, of HEADERS, without the priority of old.
func (f *frame) content() ([]byte, error) {
	b, pad := f.payload, 0
	if f.has(http2.FlagDataPadded) {
		if len(b) == 0 {
			return nil, protocolError("padding without length")
		}
		pad, b = int(b[0]), b[1:]
	}
	if f.kind == http2.FrameHeaders && f.has(http2.FlagHeadersPriority) {
		if len(b) < 5 {
			return nil, protocolError("a priority that is cut short")
		}
		b = b[5:]
	}
	if pad > len(b) {
		return nil, protocolError("padding longer than its frame")
	}
	return b[:len(b)-pad], nil
}

func (c *Conn) handleHeaders(f *frame) error {
	if _, err := c.call(f.stream); err != nil {
		return err
	}
	b, err := f.content()
	if err != nil {
		return err
	}
	ends := f.has(http2.FlagHeadersEndStream)
	if f.has(http2.FlagHeadersEndHeaders) {
		return c.decode(f.stream, b, ends)
	}
	c.open, c.openEnds, c.parts = f.stream, ends, 0
	c.block = append(c.block[:0], b...)
	return nil
}

// maxParts bounds the CONTINUATION frames of a field list, which may be empty.
const maxParts = 256

func (c *Conn) handleContinuation(f *frame) error {
	if c.open == 0 {
		return protocolError("CONTINUATION of nothing")
	}
	c.parts++
	if len(c.block)+len(f.payload) > maxFields || c.parts > maxParts {
		return &connError{http2.ErrCodeEnhanceYourCalm, "a field list without end"}
	}
	c.block = append(c.block, f.payload...)
	if !f.has(http2.FlagContinuationEndHeaders) {
		return nil
	}
	stream := c.open
	c.open = 0
	err := c.decode(stream, c.block, c.openEnds)
	if cap(c.block) > readMemory {
		c.block = nil
	}
	return err
}

// decode decodes a field list, of streams that have ended too: it may change the table of those that come.
func (c *Conn) decode(stream uint32, block []byte, ends bool) error {
	c.fields = fields{}
	_, err := c.decoder.Write(block)
	if err == nil {
		err = c.decoder.Close()
	}
	if err != nil {
		return &connError{http2.ErrCodeCompression, err.Error()}
	}
	if call := c.streams[stream]; call != nil {
		c.heard = true
		c.gotFields(call, &c.fields, ends)
	}
	return nil
}
