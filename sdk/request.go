package sdk

import "fmt"

// Request is the request of an exchange as it stands: what the client sent, with the changes made so far. Not safe for
// concurrent use; valid until the hook returns.
type Request struct {
	method, scheme, host, path, uri, proto string

	query   Query
	header  Header
	body    []byte
	length  int64
	loaded  bool
	changed Change
	err     error
}

// RequestInit is what a host knows of a request when an exchange begins.
type RequestInit struct {
	Method string
	Scheme string // http or https
	Host   string // as the client named it (RFC 9110 §7.2)
	Path   string // of the request target, escapes as they came
	Query  string // behind the "?", as it came
	URI    string // the whole request target as it came
	Proto  string // such as HTTP/1.1
	Length int64  // of the body in bytes; -1 when not declared
}

// Fill begins the request anew. For hosts and decoders; headers are appended with [Header.Append].
func (r *Request) Fill(init RequestInit) {
	r.method, r.scheme, r.host, r.path = init.Method, init.Scheme, init.Host, init.Path
	r.uri, r.proto, r.length = init.URI, init.Proto, init.Length
	r.query.load(init.Query)
	r.query.edited = false
	r.header.Reset()
	r.body, r.loaded, r.changed, r.err = nil, false, 0, nil
}

// Method returns the request's method.
func (r *Request) Method() string { return r.method }

// SetMethod changes the method. One that is not a token (RFC 9110 §9.1) changes nothing and makes the hook fail.
func (r *Request) SetMethod(m string) {
	if !ValidToken(m) {
		r.fail(fmt.Errorf("invalid method %q (RFC 9110 §9.1)", clip(m)))
		return
	}
	r.method = m
	r.changed |= ChangedMethod
}

// Path returns the path of the request target with its escapes as they came, the listen path included.
func (r *Request) Path() string { return r.path }

// SetPath changes the path. One that could not stand in a request line changes nothing and makes the hook fail.
func (r *Request) SetPath(p string) {
	if !ValidPath(p) {
		r.fail(fmt.Errorf("invalid path %q (RFC 9112 §3.2.1): it begins with a slash, blanks and ? are escaped", clip(p)))
		return
	}
	r.path = p
	r.changed |= ChangedPath
}

// Query returns the request's query, to read and to change.
func (r *Request) Query() *Query { return &r.query }

// Header returns the request's header, to read and to change. Host is not in it: see [Request.Host].
func (r *Request) Header() *Header { return &r.header }

// Host returns the host the client asked for. The upstream's is the route's decision, no hook's.
func (r *Request) Host() string { return r.host }

// Scheme returns http or https: how the client came.
func (r *Request) Scheme() string { return r.scheme }

// Proto returns the protocol the client spoke, such as HTTP/1.1.
func (r *Request) Proto() string { return r.proto }

// URI returns the request target as the client sent it, whatever hooks changed since.
func (r *Request) URI() string { return r.uri }

// Target returns path and query as they stand now.
func (r *Request) Target() string {
	if q := r.query.Raw(); q != "" {
		return r.path + "?" + q
	}
	return r.path
}

// Length returns the length of the body in bytes, -1 when it is not known before it is read.
func (r *Request) Length() int64 { return r.length }

// Body returns the whole body when it has been buffered for this hook, else nil: a hook asks for it with [NeedBody].
// The bytes are the exchange's: copy what outlives the call.
func (r *Request) Body() []byte { return r.body }

// Buffered reports whether Body holds the whole body.
func (r *Request) Buffered() bool { return r.loaded }

// SetBody replaces the body, which need not have been read before. The exchange keeps b.
func (r *Request) SetBody(b []byte) {
	r.LoadBody(b)
	r.changed |= ChangedBody
}

// LoadBody gives the request the body read from the client. For hosts and decoders; it is no change.
func (r *Request) LoadBody(b []byte) {
	r.body, r.loaded, r.length = b, true, int64(len(b))
}

func (r *Request) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *Request) begin(record bool) {
	r.changed, r.err = 0, nil
	r.query.edited = false
	r.header.begin(record)
}

func (r *Request) changes() Change {
	c := r.changed
	if r.query.edited {
		c |= ChangedQuery
	}
	if r.header.edited {
		c |= ChangedHeader
	}
	return c
}

func (r *Request) invalid() error {
	switch {
	case r.err != nil:
		return r.err
	case r.header.err != nil:
		return r.header.err
	case r.query.edited && !ValidQuery(r.query.Raw()):
		return fmt.Errorf("invalid query %q (RFC 9112 §3.2.1): escape blanks, control characters and #", clip(r.query.Raw()))
	}
	return nil
}
