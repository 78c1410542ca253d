package unary

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/net/http2"
)

// requestFields are the fields that all requests of a connection have, encoded (RFC 7541).
type requestFields struct {
	first   []byte // enters them into the peer's table
	again   []byte // refers to that
	plain   []byte // without the table
	entered bool   // first was sent
	resize  bool   // the peer must be told that its table is not used any more
	size    int    // of the fields as peers count it (RFC 9113 §6.5.2)
}

// Indices of the static table (RFC 7541, appendix A).
const (
	staticAuthority   = 1
	staticPost        = 3
	staticPath        = 4
	staticHTTP        = 6
	staticHTTPS       = 7
	staticContentType = 31
	staticUserAgent   = 58
	staticTable       = 61

	tableBytes    = 4096 // of the peer's table, unless it wants less
	entryOverhead = 32   // RFC 7541 §4.1
	maxTimeout    = 9    // bytes of grpc-timeout: eight digits and a unit
)

func newRequestFields(o Options) (requestFields, error) {
	scheme := byte(staticHTTP)
	if o.Secure {
		scheme = staticHTTPS
	}
	fields := []struct {
		static      int // index of the name; 0: none
		name, value string
	}{
		{staticPath, ":path", o.Method},
		{staticAuthority, ":authority", o.Authority},
		{staticContentType, "content-type", "application/grpc"},
		{staticUserAgent, "user-agent", o.UserAgent},
		{0, "te", "trailers"},
		{0, "grpc-accept-encoding", "identity"},
	}
	var f requestFields
	begin := []byte{0x80 | staticPost, 0x80 | scheme}
	f.first, f.again, f.plain = append(f.first, begin...), append(f.again, begin...), append(f.plain, begin...)
	size := 0 // of the entries in the table
	for i, field := range fields {
		f.first = appendLiteral(f.first, 0x40, 6, field.static, field.name, field.value)
		f.again = appendInteger(f.again, 0x80, 7, staticTable+len(fields)-i)
		f.plain = appendLiteral(f.plain, 0, 4, field.static, field.name, field.value)
		size += len(field.name) + len(field.value) + entryOverhead
	}
	f.size = size + len(":method") + len("POST") + len(":scheme") + len("https") + 2*entryOverhead
	if len(f.plain) > maxRequest {
		return f, fmt.Errorf("method, authority and user agent of %d bytes are too long", len(f.plain))
	}
	if size > tableBytes {
		f.first, f.again = f.plain, f.plain
	}
	return f, nil
}

// withoutTable is for peers that want a table smaller than usual: none is always small enough.
func (f *requestFields) withoutTable() {
	if f.first == nil {
		return
	}
	f.first, f.again, f.resize = nil, nil, true
}

// append appends the fields of the next request.
func (f *requestFields) append(b []byte) []byte {
	switch {
	case f.resize:
		f.resize = false
		b = append(b, 0x20) // RFC 7541 §6.3: a size of 0
		return append(b, f.plain...)
	case f.first == nil:
		return append(b, f.plain...)
	case !f.entered:
		f.entered = true
		return append(b, f.first...)
	}
	return append(b, f.again...)
}

// appendInteger appends v in the form of RFC 7541 §5.1.
func appendInteger(b []byte, flags byte, prefix uint, v int) []byte {
	limit := 1<<prefix - 1
	if v < limit {
		return append(b, flags|byte(v))
	}
	b = append(b, flags|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// appendLiteral appends a field (RFC 7541 §6.2), its strings as they are: Huffman coding saves bytes, not time.
func appendLiteral(b []byte, flags byte, prefix uint, static int, name, value string) []byte {
	b = appendInteger(b, flags, prefix, static)
	if static == 0 {
		b = append(appendInteger(b, 0, 7, len(name)), name...)
	}
	return append(appendInteger(b, 0, 7, len(value)), value...)
}

// appendTimeout appends the value of grpc-timeout: at most eight digits and a unit. It is rounded up, so that the peer
// does not give up before the caller does.
func appendTimeout(b []byte, d time.Duration) []byte {
	unit, name := time.Microsecond, byte('u')
	switch {
	case d > 99_999_999*time.Second:
		unit, name = time.Hour, 'H'
	case d > 99_999_999*time.Millisecond:
		unit, name = time.Second, 'S'
	case d >= time.Second:
		unit, name = time.Millisecond, 'm'
	}
	v := d / unit
	if d%unit > 0 { // adding to d instead would wrap around where there is no deadline to speak of
		v++
	}
	return append(strconv.AppendInt(b, int64(max(v, 1)), 10), name)
}

// start gives the call its stream and appends its request.
func (c *Conn) start(call *Call) {
	call.id, call.window = c.nextID, c.peerWindow
	c.nextID += 2
	c.streams[call.id] = call
	at := len(c.pending)
	b := appendFrame(c.pending, 0, http2.FrameHeaders, http2.FlagHeadersEndHeaders, call.id)
	b = c.request.append(b)
	if call.bounded {
		b = appendName(b, "grpc-timeout")
		length := len(b)
		b = appendTimeout(append(b, 0), time.Until(call.deadline))
		b[length] = byte(len(b) - length - 1)
	}
	b = c.appendTrace(b, call)
	putLength(b[at:], len(b)-at-frameHeader)
	c.pending = b
	for c.sendSome(call) {
	}
	if !call.allSent() {
		c.blocked = append(c.blocked, call)
	}
	if c.nextID > 2*c.o.Streams {
		c.leave(errSpent)
	}
}

// appendTrace appends the call's trace context as far as it fits into the field list the peer takes.
func (c *Conn) appendTrace(b []byte, call *Call) []byte {
	room := c.peerFields - c.request.size - len("grpc-timeout") - maxTimeout - entryOverhead
	for _, f := range [...]struct{ name, value string }{{"traceparent", call.TraceParent}, {"tracestate", call.TraceState}} {
		room -= len(f.name) + len(f.value) + entryOverhead
		if f.value == "" || len(f.value) > maxTrace || room < 0 {
			return b
		}
		b = appendLiteral(b, 0, 4, 0, f.name, f.value)
	}
	return b
}

// appendName appends a name of less than 127 bytes, of a field that no table knows.
func appendName(b []byte, name string) []byte {
	return append(append(b, 0, byte(len(name))), name...)
}

// prefixBytes is what comes before a message: whether it is compressed, and its length.
const prefixBytes = 5

func (c *Call) allSent() bool { return c.sent == prefixBytes+len(c.Message) }

// sendSome appends a frame of the call's message, and reports whether it did.
func (c *Conn) sendSome(call *Call) bool {
	total := prefixBytes + len(call.Message)
	n := min(int64(total-call.sent), int64(c.peerFrame), c.sendWindow, call.window)
	if n <= 0 || len(c.pending) >= highWater {
		return false
	}
	c.sendWindow -= n
	call.window -= n
	flags := http2.Flags(0)
	if call.sent+int(n) == total {
		flags = http2.FlagDataEndStream
	}
	b := appendFrame(c.pending, int(n), http2.FrameData, flags, call.id)
	from, to := call.sent, call.sent+int(n)
	if from < prefixBytes {
		var prefix [prefixBytes]byte
		binary.BigEndian.PutUint32(prefix[1:], uint32(len(call.Message)))
		b = append(b, prefix[from:min(to, prefixBytes)]...)
	}
	if to > prefixBytes {
		b = append(b, call.Message[max(from-prefixBytes, 0):to-prefixBytes]...)
	}
	c.pending = b
	call.sent = to
	return true
}
