package unary

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// reply is what has come of a reply.
type reply struct {
	message []byte
	length  int // of the message, once prefix has come
	prefix  [prefixBytes]byte
	got     int  // bytes of prefix and message
	frames  int  // bytes of DATA frames
	headers bool // came
	whole   bool // the message is
}

// fields are those of a field list that matter.
type fields struct {
	status, contentType string
	code, message       string
	size                int
}

// field takes one field from the decoder.
func (c *Conn) field(f hpack.HeaderField) {
	if c.fields.size += int(f.Size()); c.fields.size > maxFields {
		return
	}
	switch f.Name {
	case ":status":
		c.fields.status = f.Value
	case "content-type":
		c.fields.contentType = f.Value
	case "grpc-status":
		c.fields.code = f.Value
	case "grpc-message":
		c.fields.message = f.Value
	}
}

// gotFields takes the headers or trailers of a reply.
func (c *Conn) gotFields(call *Call, f *fields, ends bool) {
	r := &call.reply
	switch {
	case f.size > maxFields:
		c.reset(call, http2.ErrCodeCancel, garbage("reply's fields are over the limit of %d bytes", maxFields))
	case r.headers && !ends:
		c.reset(call, http2.ErrCodeProtocol, garbage("fields in the middle of a reply"))
	case r.headers:
		c.finish(call, result(r, f))
	case !ends && len(f.status) == 3 && f.status[0] == '1':
		// RFC 9113 §8.1: an interim response
	default:
		r.headers = true
		switch err := refused(f); {
		case err != nil && ends:
			c.finish(call, err)
		case err != nil:
			c.reset(call, http2.ErrCodeCancel, err)
		case ends:
			c.finish(call, result(r, f))
		}
	}
}

// refused says why the headers are none of a gRPC reply.
func refused(f *fields) error {
	switch {
	case f.status == "":
		return garbage("reply without status")
	case f.status != "200" && f.code == "":
		return &Error{Code: codeOfHTTP(f.status), Message: httpMessage(f.status)}
	case f.code == "" && !strings.HasPrefix(f.contentType, "application/grpc"):
		return garbage("reply's content type is %q", f.contentType)
	}
	return nil
}

// result is what trailers, or headers that are all there is, say.
func result(r *reply, f *fields) error {
	code, err := strconv.ParseUint(f.code, 10, 32)
	switch {
	case f.code == "":
		return garbage("reply ended without a status")
	case err != nil:
		return garbage("reply's status is %q", f.code)
	case code != 0:
		return &Error{Code: codes.Code(code), Message: percentDecoded(f.message)}
	case !r.whole:
		return garbage("status is OK and there is no message")
	}
	return nil
}

// finish ends a call whose stream the peer has ended; if it did not want all of the request, it gets no more.
func (c *Conn) finish(call *Call, err error) {
	if !call.allSent() {
		c.pending = appendReset(c.pending, call.id, http2.ErrCodeCancel)
	}
	c.settle(call, err)
}

func (c *Conn) handleData(f *frame) error {
	call, err := c.call(f.stream)
	if err != nil {
		return err
	}
	n := len(f.payload)
	c.recvWindow -= int64(n)
	if c.recvWindow < 0 {
		return &connError{http2.ErrCodeFlowControl, "more than its window"}
	}
	if c.recvWindow < connWindow/2 {
		c.pending = appendWindowUpdate(c.pending, connWindow-c.recvWindow)
		c.recvWindow = connWindow
	}
	b, err := f.content()
	if err != nil || call == nil {
		return err
	}
	r := &call.reply
	r.frames += n
	switch {
	case !r.headers:
		c.reset(call, http2.ErrCodeProtocol, garbage("a message before its headers"))
		return nil
	case r.frames > c.streamWindow():
		c.reset(call, http2.ErrCodeFlowControl, garbage("more than the stream's window"))
		return nil
	}
	if err := r.add(b, c.o.MaxRecv); err != nil {
		c.reset(call, http2.ErrCodeCancel, err)
	} else if f.has(http2.FlagDataEndStream) {
		c.finish(call, garbage("reply ended without trailers"))
	}
	return nil
}

// allocateAtOnce is how much memory a reply gets on its word alone.
const allocateAtOnce = 64 << 10

// add takes bytes of the reply's prefix and message.
func (r *reply) add(b []byte, limit int) error {
	if r.got < prefixBytes {
		n := copy(r.prefix[r.got:], b)
		r.got += n
		b = b[n:]
		if r.got < prefixBytes {
			return nil
		}
		if r.prefix[0] != 0 {
			return garbage("reply is compressed, which was not asked for")
		}
		length := binary.BigEndian.Uint32(r.prefix[1:])
		if uint64(length) > uint64(limit) {
			return &Error{
				Code: codes.ResourceExhausted, Message: fmt.Sprintf("reply of %d bytes is over the limit of %d", length, limit), Garbage: true,
			}
		}
		r.length = int(length)
		r.message = make([]byte, 0, min(r.length, max(allocateAtOnce, len(b))))
	}
	if len(r.message)+len(b) > r.length {
		return garbage("more than one message in a reply")
	}
	r.message = append(r.message, b...)
	r.got += len(b)
	r.whole = len(r.message) == r.length
	return nil
}
