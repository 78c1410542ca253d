package rules

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	long := "/" + strings.Repeat("a", maxAmbiguous)
	tests := []struct {
		path    string
		forms   []string // some of them
		not     string
		hostile bool
	}{
		{path: "", forms: []string{"/"}},
		{path: "a", forms: []string{"/a"}},
		{path: "/a%20b", forms: []string{"/a b"}, not: "/a%20b"},
		{path: "/a//b", forms: []string{"/a//b", "/a/b"}},
		{path: "/a/./b/", forms: []string{"/a/b/"}},
		{path: "/x/../a", forms: []string{"/a"}},
		{path: "/x//../a", forms: []string{"/a", "/x/a"}},
		{path: "/x/%2e%2e/a", forms: []string{"/a"}},
		{path: "/a%2Fb", forms: []string{"/a/b", "/a%2Fb"}},
		{path: "/a%2fb", forms: []string{"/a/b", "/a%2Fb"}},
		{path: "/x/%2E%2E%2Fa", forms: []string{"/a"}},
		{path: `/a\b`, forms: []string{`/a\b`, "/a/b"}},
		{path: `/x/..\a`, forms: []string{"/a"}},
		{path: "/x/..%5Ca", forms: []string{"/a"}},
		{path: "/a;x=1/b;y", forms: []string{"/a;x=1/b;y", "/a/b"}},
		{path: "/x/..;/a", forms: []string{"/a"}},
		{path: "/a%3Bx/b", forms: []string{"/a/b"}},
		{path: "/a;%2F..%2F/b", forms: []string{"/a/b"}},
		{path: "/a%3Fx", forms: []string{"/a?x", "/a"}},
		{path: "/a%23x", forms: []string{"/a#x", "/a"}},
		{path: "/%2561", forms: []string{"/%61", "/a"}},
		{path: "/%252561", forms: []string{"/%2561", "/%61", "/a"}},
		{path: "/%25252561", hostile: true},
		{path: "/100%25", forms: []string{"/100%"}},
		{path: "/q/a/%2e%2e/../x", forms: []string{"/x", "/q/a/x"}},
		{path: "/..", forms: []string{"/"}, hostile: true},
		{path: "/a/../../b", forms: []string{"/b"}, hostile: true},
		{path: "/a/..%2f../b", forms: []string{"/b"}, hostile: true},
		{path: "/a/..;/..;/b", forms: []string{"/b"}, hostile: true},
		{path: "/a%00b", hostile: true},
		{path: "/a%0Ab", hostile: true},
		{path: "/a%250Ab", hostile: true},
		{path: "/a%7Fb", hostile: true},
		{path: long + "%20", forms: []string{long + " "}},
		{path: long + "%2F..", hostile: true},
		{path: long + ";x", hostile: true},
		{path: "/a%zz%4", forms: []string{"/a%zz%4"}},
	}
	for _, test := range tests {
		r := read(test.path)
		for _, form := range test.forms {
			if !slices.Contains(r.forms, form) {
				t.Errorf("read(%q) = %q: lacks %q", test.path, r.forms, form)
			}
		}
		if test.not != "" && slices.Contains(r.forms, test.not) {
			t.Errorf("read(%q) = %q: must not have %q", test.path, r.forms, test.not)
		}
		if r.hostile != test.hostile {
			t.Errorf("read(%q): hostile %t, want %t", test.path, r.hostile, test.hostile)
		}
		if plain(test.path) {
			t.Errorf("plain(%q)", test.path)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, p := range []string{"/", "/a", "/a/", "/a/b.c", "/.well-known/x", "/...", "/a/.b/..c", "/é"} {
		if !plain(p) {
			t.Errorf("plain(%q) is false", p)
		}
	}
}

func TestResolve(t *testing.T) {
	tests := []struct {
		path, want string
		tidying    tidying
		climbs     bool
	}{
		{path: "", want: "/"},
		{path: "a", want: "/a"},
		{path: "/", want: "/"},
		{path: "//", want: "/"},
		{path: "/a//b///c//", want: "/a/b/c/"},
		{path: "/.", want: "/"},
		{path: "/a/.", want: "/a/"},
		{path: "/a/..", want: "/"},
		{path: "/a/b/..", want: "/a/"},
		{path: "/a/b/../c", want: "/a/c"},
		{path: "/../a", want: "/a", climbs: true},
		{path: "/...", want: "/..."},
		{path: "/a/%2e%2E/b", want: "/a/%2e%2E/b"},
		{path: "/a/%2e%2E/b", want: "/b", tidying: tidying{escapes: true}},
		{path: "/a/.%2e/b", want: "/b", tidying: tidying{escapes: true}},
		{path: "/a/%2e/b%2Fc", want: "/a/b%2Fc", tidying: tidying{escapes: true}},
		{path: "/a//../b", want: "/a/b", tidying: tidying{keepEmpty: true}},
		{path: "/a//b//", want: "/a//b//", tidying: tidying{keepEmpty: true}},
		{path: "/a/./b//", want: "/a/b//", tidying: tidying{keepEmpty: true}},
	}
	for _, test := range tests {
		got, climbs := resolve(test.path, test.tidying)
		if got != test.want || climbs != test.climbs {
			t.Errorf("resolve(%q, %+v) = %q, %t, want %q, %t", test.path, test.tidying, got, climbs, test.want, test.climbs)
		}
	}
}

// path.Clean is an oracle for all but the slash at the end.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"/a/../b//c/.", "..//", "/./..", "//a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, _ := resolve(p, tidying{})
		want := path.Clean("/" + p)
		if strings.TrimSuffix(got, "/") != strings.TrimSuffix(want, "/") {
			t.Errorf("resolve(%q) = %q, want %q", p, got, want)
		}
		if again, climbs := resolve(got, tidying{}); again != got || climbs {
			t.Errorf("resolve(%q) = %q, %t: not stable", got, again, climbs)
		}
		for _, k := range []tidying{{escapes: true}, {keepEmpty: true}} {
			once, _ := resolve(p, k)
			if again, _ := resolve(once, k); again != once || once[0] != '/' {
				t.Errorf("resolve(%q, %+v) = %q, then %q", p, k, once, again)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("/a%20b%2f%zz%")
	f.Fuzz(func(t *testing.T, p string) {
		got, escaped := decode(p, false)
		if want, err := url.PathUnescape(p); err == nil && got != want {
			t.Errorf("decode(%q) = %q, want %q", p, got, want)
		}
		if !escaped && got != p {
			t.Errorf("decode(%q) = %q, but nothing was escaped", p, got)
		}
		kept, _ := decode(p, true)
		if strings.Count(kept, "/") != strings.Count(p, "/") {
			t.Errorf("decode(%q) with slashes kept = %q", p, kept)
		}
	})
}
