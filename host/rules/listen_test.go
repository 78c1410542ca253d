package rules

import (
	"strings"
	"testing"
)

func TestTrimListenPath(t *testing.T) {
	tests := []struct{ path, listen, keep, drop string }{
		{"/", "/", "/", ""},
		{"/a/b", "/", "/a/b", "/a/b"},
		{"//a", "/", "//a", "//a"},
		{"/api", "/api", "", ""},
		{"/api/", "/api", "/", ""},
		{"/api//", "/api", "//", "//"},
		{"/api/a/", "/api", "/a/", "/a/"},
		{"/api//a%2Fb/../%c3;x", "/api", "//a%2Fb/../%c3;x", "//a%2Fb/../%c3;x"},
		{"/apix/y", "/api", "/x/y", "/x/y"},
		{"/%61pi/x%20y", "/api", "/x%20y", "/x%20y"},
		{"/%41pi/x", "/api", "/%41pi/x", "/%41pi/x"},
		{"/ap", "/api", "/ap", "/ap"},
		{"/a%2", "/a%20", "/a%2", "/a%2"},
		{"/a%20b/c", "/a b", "/c", "/c"},
		{"/a%20b/c", "/a%20b", "/c", "/c"},
		{"/api%2Fx", "/api", "/%2Fx", "/%2Fx"},
	}
	for _, test := range tests {
		if got := TrimListenPath(test.path, test.listen, true); got != test.keep {
			t.Errorf("TrimListenPath(%q, %q, true) = %q, want %q", test.path, test.listen, got, test.keep)
		}
		if got := TrimListenPath(test.path, test.listen, false); got != test.drop {
			t.Errorf("TrimListenPath(%q, %q, false) = %q, want %q", test.path, test.listen, got, test.drop)
		}
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a//b/", "/a/b/"},
		{"/a/../../b", "/b"},
		{"/a/%2e%2e/b%20c", "/b%20c"},
		{"/a/.%2E/b", "/b"},
		{"/a%2F..%2Fb", "/a%2F..%2Fb"},
		{"/a/%252e/b", "/a/%252e/b"},
		{"/.well-known/x", "/.well-known/x"},
	}
	for _, test := range tests {
		if got := Clean(test.path); got != test.want {
			t.Errorf("Clean(%q) = %q, want %q", test.path, got, test.want)
		}
	}
}

// What is trimmed off is the listen path, and what is left are the path's own bytes.
func FuzzTrimListenPath(f *testing.F) {
	f.Add("/api/x", "/api")
	f.Add("/%61pi//x/", "/api")
	f.Fuzz(func(t *testing.T, path, listen string) {
		if listen == "" || listen[0] != '/' {
			return
		}
		rest := TrimListenPath(path, listen, true)
		if !strings.HasSuffix("/"+path, rest) && !strings.HasSuffix(path, strings.TrimPrefix(rest, "/")) {
			t.Errorf("TrimListenPath(%q, %q) = %q: not the path's bytes", path, listen, rest)
		}
		if rest != "" && rest[0] != '/' {
			t.Errorf("TrimListenPath(%q, %q) = %q: no slash", path, listen, rest)
		}
	})
}
