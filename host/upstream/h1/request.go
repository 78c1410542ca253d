package h1

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// chunkedLength as a request's length means that it leaves in chunks.
const chunkedLength = -1

// framing returns the length to declare for the request's body, chunkedLength when it leaves in chunks.
func framing(call *outbound.Call) int64 {
	n := call.Length()
	if !call.Whole && call.Flow.X.Request().Header().Has("Trailer") {
		return chunkedLength // trailers need chunks (RFC 9112 §7.1.2)
	}
	return n
}

// appendHead writes the request's header (RFC 9112 §3) behind dst, as [flow.Outbound] describes it. It fails when no
// HTTP message can carry the request.
func appendHead(dst []byte, target *outbound.Target, call *outbound.Call, expect bool) ([]byte, error) {
	f := call.Flow
	r := f.X.Request()
	method := r.Method()
	if !sdk.ValidToken(method) {
		return dst, fmt.Errorf("method %q is no token (RFC 9110 §9.1)", clip(method))
	}
	start := len(dst)
	dst = append(append(dst, method...), ' ')
	from := len(dst)
	dst = target.AppendPath(dst, f.Out.Path)
	if f.Out.Query != "" || f.Out.ForceQuery {
		dst = append(append(dst, '?'), f.Out.Query...)
	}
	for _, c := range dst[from:] {
		if c <= ' ' || c == 0x7f {
			return dst, fmt.Errorf("request target %q has a blank or control character (RFC 9112 §3.2)", clip(string(dst[from:])))
		}
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	host := f.Out.Host
	if host == "" {
		host = target.Host
	}
	dst = appendField(dst, "Host", host)
	lines := 3 // request line, Host and the empty one
	named := flow.ConnectionNames(r.Header())
	for _, h := range r.Header().Fields() {
		if outbound.Own(h.Name) || named != nil && outbound.Listed(named, h.Name) {
			continue
		}
		dst = appendField(dst, h.Name, h.Value)
		lines++
	}
	dst, n := appendOwn(dst, call, expect)
	lines += n
	dst = append(dst, "\r\n"...)
	// Fronts and hooks have been checked before. This is the last door: a line break that is not ours would let a value
	// become a request (RFC 9112 §11.1).
	if block := dst[start:]; bytes.Count(block, newline) != lines || bytes.Count(block, carriage) != lines {
		return dst, fmt.Errorf("a field of the request holds a line break")
	}
	return dst, nil
}

var (
	newline  = []byte{'\n'}
	carriage = []byte{'\r'}
)

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// appendOwn writes the fields that are ours and returns how many there were.
func appendOwn(dst []byte, call *outbound.Call, expect bool) ([]byte, int) {
	f := call.Flow
	r := f.X.Request()
	lines := 0
	put := func(name, value string) {
		if value != "" {
			dst = appendField(dst, name, value)
			lines++
		}
	}
	put("X-Forwarded-For", f.Out.ForwardedFor)
	put("X-Forwarded-Host", f.Out.ForwardedHost)
	put("X-Forwarded-Proto", f.Out.ForwardedProto)
	switch te := outbound.WantsTrailers(r.Header()); {
	case f.Upgrade != "":
		put("Connection", "Upgrade")
		put("Upgrade", f.Upgrade)
	case te:
		put("Connection", "TE")
		put("TE", "trailers")
	}
	if expect {
		put("Expect", "100-continue")
	}
	switch n := framing(call); {
	case n == chunkedLength:
		put("Transfer-Encoding", "chunked")
		put("Trailer", r.Header().Get("Trailer"))
	case n > 0 || call.Flow.Body != nil || bodyExpected(r.Method()):
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(dst, "\r\n"...)
		lines++
	}
	return dst, lines
}

// bodyExpected reports whether the method's requests declare their length even when it is 0 (RFC 9110 §8.6).
func bodyExpected(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}
