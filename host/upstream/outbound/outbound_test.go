package outbound

import (
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		raw  string
		want Target
	}{
		{"http://example.org", Target{Name: "http://example.org", Network: "tcp", Address: "example.org:80", Host: "example.org"}},
		{"http://example.org:80/", Target{Name: "http://example.org", Network: "tcp", Address: "example.org:80", Host: "example.org"}},
		{"http://127.0.0.1:9000/a%2Fb/", Target{Name: "http://127.0.0.1:9000/a%2Fb", Network: "tcp", Address: "127.0.0.1:9000", Host: "127.0.0.1:9000", Base: "/a%2Fb"}},
		{"https://[::1]", Target{Name: "https://[::1]", Network: "tcp", Address: "[::1]:443", Host: "[::1]", TLS: true}},
		{"https://[::1]:80", Target{Name: "https://[::1]:80", Network: "tcp", Address: "[::1]:80", Host: "[::1]:80", TLS: true}},
		{"unix:/run/a.sock", Target{Name: "unix:/run/a.sock", Network: "unix", Address: "/run/a.sock", Host: "localhost"}},
		{"unix:///run/a.sock", Target{Name: "unix:/run/a.sock", Network: "unix", Address: "/run/a.sock", Host: "localhost"}},
	}
	for _, tt := range tests {
		if got, err := Parse(tt.raw); err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.raw, got, err, tt.want)
		}
	}
	for _, raw := range []string{"", "example.org", "ftp://a", "http://", "http://:80", "http://a?b", "http://a#b", "http://u@a", "unix:", "http://a b", "http://a:x"} {
		if got, err := Parse(raw); err == nil {
			t.Errorf("%q: got %+v, want an error", raw, got)
		}
	}
}

func TestAppendPath(t *testing.T) {
	for _, tt := range []struct{ base, path, want string }{
		{"", "", "/"}, {"", "/", "/"}, {"", "a", "/a"}, {"", "//a", "//a"}, {"", "*", "*"},
		{"/b", "", "/b"}, {"/b", "/", "/b/"}, {"/b", "a", "/b/a"}, {"/b", "/a", "/b/a"}, {"/b", "//a", "/b//a"}, {"/b", "*", "/b/*"},
	} {
		target := Target{Base: tt.base}
		if got := string(target.AppendPath([]byte("x"), tt.path)); got != "x"+tt.want {
			t.Errorf("%q + %q: got %q, want %q", tt.base, tt.path, got[1:], tt.want)
		}
	}
}

func TestFields(t *testing.T) {
	for _, name := range []string{"host", "HOST", "expect", "Content-Length", "X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto",
		"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization"} {
		if !Own(name) {
			t.Errorf("%s is copied", name)
		}
	}
	for _, name := range []string{"Hosts", "Forwarded", "X-Forwarded-Port", "X-Real-Ip", "Content-Lengths", "Authorization", "Cookie", "Via"} {
		if Own(name) {
			t.Errorf("%s is not copied", name)
		}
	}
	for list, want := range map[string]bool{"trailers": true, "gzip, Trailers": true, "a,\ttrailers ,b": true, "trailers;q=1": false, "xtrailers": false, "": false, ",": false} {
		if got := HasToken(list, "trailers"); got != want {
			t.Errorf("%q: got %v", list, got)
		}
	}
	for _, name := range []string{"Content-Length", "transfer-encoding", "Host", "Trailer", "Connection", "Content-Type"} {
		if TrailerAllowed(name) {
			t.Errorf("%s may be a trailer", name)
		}
	}
	if !TrailerAllowed("Grpc-Status") {
		t.Error("Grpc-Status may not be a trailer")
	}
}

func TestTrailerAllowed(t *testing.T) {
	for _, name := range []string{"grpc-status", "Grpc-Message", "X-Sum", "Digest", "Server-Timing", "ETag", "If"} {
		if !TrailerAllowed(name) {
			t.Errorf("%s is refused", name)
		}
	}
	for _, name := range []string{"transfer-encoding", "Content-Length", "host", "Connection", "authorization", "Cookie", "set-cookie",
		"X-Forwarded-For", "forwarded", "If-Match", "if-none-match", "Expect", "Range", "TE", "Trailer", "Content-Type", "Upgrade"} {
		if TrailerAllowed(name) {
			t.Errorf("%s is let through", name)
		}
	}
}
