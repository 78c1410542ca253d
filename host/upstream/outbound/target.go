// Package outbound is what the transports of an upstream share: where a request goes, which fields travel with it, and
// how an attempt can fail.
package outbound

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Target is one address that requests are sent to. It is immutable.
type Target struct {
	Name    string // as logs and [flow.Reply] name it: http://127.0.0.1:9000/base, unix:/run/app.sock
	Network string // tcp or unix
	Address string // what is dialled
	Host    string // the Host field when the request brings none of its own; the port only when it is not the default
	Base    string // path before that of every request, without a slash at the end; often ""
	TLS     bool
}

// Parse reads a target: http://HOST[:PORT][/BASE], https://HOST[:PORT][/BASE] or unix:PATH (HTTP in the clear over that
// socket, Host localhost).
func Parse(raw string) (Target, error) {
	if path, ok := strings.CutPrefix(raw, "unix:"); ok {
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			path = rest
		}
		if path == "" {
			return Target{}, fmt.Errorf("target %q: want unix:PATH", raw)
		}
		return Target{Name: "unix:" + path, Network: "unix", Address: path, Host: "localhost"}, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return Target{}, fmt.Errorf("target: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Target{}, fmt.Errorf("target %q: want http://HOST[:PORT][/PATH], https:// the same, or unix:PATH", u.Redacted())
	}
	t := Target{Network: "tcp", TLS: u.Scheme == "https", Base: strings.TrimRight(u.EscapedPath(), "/")}
	standard, port := "80", u.Port()
	if t.TLS {
		standard = "443"
	}
	if port == "" {
		port = standard
	}
	t.Address = net.JoinHostPort(u.Hostname(), port)
	t.Host = t.Address
	if port == standard {
		t.Host = strings.TrimSuffix(t.Address, ":"+port)
	}
	t.Name = u.Scheme + "://" + t.Host + t.Base
	return t, nil
}

// Scheme returns http or https.
func (t *Target) Scheme() string {
	if t.TLS {
		return "https"
	}
	return "http"
}

// AppendPath appends the path of a request target: the base, then path as it is. Exactly one slash is put between them
// when path has none; slashes that path brings are all kept. "*" (RFC 9112 §3.2.4) stands alone.
func (t *Target) AppendPath(dst []byte, path string) []byte {
	if path == "*" && t.Base == "" {
		return append(dst, '*')
	}
	dst = append(dst, t.Base...)
	if path == "" && t.Base != "" {
		return dst
	}
	if path == "" || path[0] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, path...)
}
