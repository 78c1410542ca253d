package router

import (
	"fmt"
	"strings"
	"testing"
)

func TestRouter(t *testing.T) {
	rs := Table{{Method: "GET", Path: "/a/{x}"}, {Method: "GET", Path: "/a/b"}, {Method: "POST", Path: "/a/{x}"}, {Method: "GET", Path: "/a/{x}/c/{y}"}}
	tests := []struct{ method, path, found, vars, allowed string }{
		{"GET", "/a/b", "/a/b", "map[]", ""},
		{"GET", "/a/b/", "/a/b", "map[]", ""},
		{"HEAD", "/a/b", "/a/b", "map[]", ""},
		{"GET", "/a/c%2Fd", "/a/{x}", "map[x:c/d]", ""},
		{"POST", "/a/b", "/a/{x}", "map[x:b]", ""},
		{"DELETE", "/a/b", "", "map[]", "GET,POST"},
		{"GET", "/a/1/c/2", "/a/{x}/c/{y}", "map[x:1 y:2]", ""},
		{"GET", "/a//", "", "map[]", ""},
		{"GET", "//a/b", "", "map[]", ""},
		{"GET", "/a/%zz", "", "map[]", ""},
		{"GET", "/a", "", "map[]", ""},
		{"GET", "", "", "map[]", ""},
		{"GET", "*", "", "map[]", ""},
	}
	for _, tt := range tests {
		found, vars, allowed := rs.Find(tt.method, tt.path)
		path := ""
		if found != nil {
			path = found.Path
		}
		if path != tt.found || fmt.Sprint(vars) != tt.vars || strings.Join(allowed, ",") != tt.allowed {
			t.Errorf("%s %s: got %q %v %v", tt.method, tt.path, path, vars, allowed)
		}
	}
}
