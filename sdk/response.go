package sdk

import "fmt"

// Response is the reply of an exchange: in the response phase the upstream's, before it what a hook answered. Not safe
// for concurrent use; valid until the hook returns.
type Response struct {
	status  int
	header  Header
	body    []byte
	loaded  bool
	length  int64
	changed Change
	err     error
}

// Status returns the status code, 0 while there is no reply.
func (r *Response) Status() int { return r.status }

// SetStatus changes the status code. One outside 200 to 599 changes nothing and makes the hook fail: interim replies
// are the host's, and no code above 599 has a class (RFC 9110 §15).
func (r *Response) SetStatus(code int) {
	if code < 200 || code > 599 {
		r.fail(fmt.Errorf("invalid status code %d: want 200 to 599", code))
		return
	}
	r.status = code
	r.changed |= ChangedStatus
}

// Header returns the reply's header, to read and to change.
func (r *Response) Header() *Header { return &r.header }

// Body returns the whole body when it has been buffered for this hook or set by one, else nil: a hook asks for it with
// [NeedResponseBody]. The bytes are the exchange's: copy what outlives the call.
func (r *Response) Body() []byte { return r.body }

// Buffered reports whether Body holds the whole body.
func (r *Response) Buffered() bool { return r.loaded }

// Length returns the length of the body in bytes, -1 when it is not known before it is read.
func (r *Response) Length() int64 { return r.length }

// SetBody replaces the body; Content-Length follows. The exchange keeps b.
func (r *Response) SetBody(b []byte) {
	r.LoadBody(b)
	r.changed |= ChangedResponseBody
}

// Fill begins the reply as the upstream sent it. For hosts and decoders; it is no change.
func (r *Response) Fill(status int, length int64) {
	r.header.Reset()
	r.status, r.length = status, length
	r.body, r.loaded, r.changed, r.err = nil, false, 0, nil
}

// LoadBody gives the reply the body read from the upstream. For hosts and decoders; it is no change.
func (r *Response) LoadBody(b []byte) {
	r.body, r.loaded, r.length = b, true, int64(len(b))
}

func (r *Response) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *Response) begin(record bool) {
	r.changed, r.err = 0, nil
	r.header.begin(record)
}

func (r *Response) changes() Change {
	if r.header.edited {
		return r.changed | ChangedResponseHeader
	}
	return r.changed
}

func (r *Response) invalid() error {
	if r.err != nil {
		return r.err
	}
	return r.header.err
}
