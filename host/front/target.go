package front

import (
	"net/http"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// splitTarget returns path and query of a request target (RFC 9112 §3.2) with their bytes as they came. The status is
// 0, or that of the refusal: 400 for one that could not be sent on, 501 for CONNECT, which needs a proxy.
func splitTarget(method, target string) (path, query string, status int) {
	switch {
	case method == http.MethodConnect:
		return "", "", http.StatusNotImplemented
	case target == "*":
		if method != http.MethodOptions {
			return "", "", http.StatusBadRequest
		}
		return target, "", 0
	case !strings.HasPrefix(target, "/"):
		var ok bool
		if target, ok = originForm(target); !ok {
			return "", "", http.StatusBadRequest
		}
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" { // absolute form may leave it out
		path = "/"
	}
	if !sdk.ValidPath(path) || !sdk.ValidQuery(query) {
		return "", "", http.StatusBadRequest
	}
	return path, query, 0
}

// originForm cuts scheme and authority off a target in absolute form. net/http has taken the host from the authority
// (RFC 9112 §3.2.2). User information is an error there (RFC 9110 §4.2.4).
func originForm(target string) (string, bool) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !sdk.EqualFold(scheme, "http") && !sdk.EqualFold(scheme, "https") {
		return "", false
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || strings.IndexByte(rest[:end], '@') >= 0 {
		return "", false
	}
	return rest[end:], true
}

// wellFormed reports whether an HTTP/2 request has one reading, in HTTP/1 too (RFC 9113 §8.1.1, §8.3.1): net/http passes
// on a method that is no token, a target with an authority of its own, a Host field that differs from the authority,
// and a Content-Length that is none or not that of the body.
func wellFormed(r *http.Request) bool {
	if !sdk.ValidToken(r.Method) || r.RequestURI != "*" && !strings.HasPrefix(r.RequestURI, "/") {
		return false
	}
	for _, host := range r.Header["Host"] {
		if !sdk.EqualFold(host, r.Host) {
			return false
		}
	}
	for _, length := range r.Header["Content-Length"] {
		if n, ok := parseSize([]byte(length), 10); !ok || n != r.ContentLength {
			return false
		}
	}
	return true
}

// validHost reports whether s may be a Host (RFC 9110 §7.2): a host of RFC 3986 §3.2.2 and an optional port. An empty
// one is allowed: HTTP/1.0 clients send none.
func validHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		if host == "" {
			return false
		}
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
		if n = n*10 + int(port[i]-'0'); n > 65535 {
			return false
		}
	}
	if strings.HasPrefix(host, "[") {
		return validLiteral(host)
	}
	for i := range len(host) {
		if !hostByte[host[i]] {
			return false
		}
	}
	return true
}

// validLiteral checks the characters of an IP literal in brackets, IPvFuture and zones included.
func validLiteral(s string) bool {
	if len(s) < 4 || s[len(s)-1] != ']' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if !hostByte[s[i]] && s[i] != ':' {
			return false
		}
	}
	return true
}

// hostByte marks what a registered name may hold: unreserved, sub-delims and the percent sign.
var hostByte = func() (t [256]bool) {
	for _, c := range []byte("-._~!$&'()*+,;=%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()
