package host

import (
	"fmt"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func routeAt(host, path string, match config.PathMatching) *Route {
	return &Route{listen: config.Listen{Host: host, Path: path, Match: match}}
}

func TestIndex(t *testing.T) {
	listens := []config.Listen{
		{Path: "/"}, {Path: "/a"}, {Path: "/a/b"}, {Path: "/with space"}, {Path: "/é"},
		{Path: "/loose", Match: config.MatchPrefix}, {Path: "/loose/deep"},
		{Path: "/a", Host: "api.example.com"}, {Path: "/w", Host: "*.example.com"}, {Path: "/w", Host: "*.deep.example.com"},
	}
	var routes []*Route
	for _, l := range listens {
		routes = append(routes, routeAt(l.Host, l.Path, l.Match))
	}
	ix := newIndex(routes)
	tests := []struct {
		host, path string
		want       string // host and listen path
		length     int
	}{
		{"h", "/", "/", 0},
		{"h", "/x", "/", 0},
		{"h", "/a", "/a", 2},
		{"h", "/a/", "/a", 2},
		{"h", "/ab", "/", 0},
		{"h", "/a/b", "/a/b", 4},
		{"h", "/a/b/c/d", "/a/b", 4},
		{"h", "/a/bc", "/a", 2},
		{"h", "/a//b", "/a", 2},
		{"h", "/%61/b", "/a/b", 6},
		{"h", "/a%2Fb", "/", 0},
		{"h", "/with%20space/x", "/with space", 13},
		{"h", "/%C3%A9/x", "/é", 7},
		{"h", "/%zz", "/", 0},
		{"h", "/loosely", "/loose", 6},
		{"h", "/loose/deep/x", "/loose/deep", 11},
		{"h", "/loose/deeper", "/loose", 6},
		{"api.example.com", "/a/b", "api.example.com/a", 2},
		{"API.example.com:8080", "/a", "api.example.com/a", 2},
		{"api.example.com", "/x", "/", 0},
		{"x.example.com", "/w/1", "*.example.com/w", 2},
		{"x.deep.example.com", "/w", "*.deep.example.com/w", 2},
		{"example.com", "/w", "/", 0},
		{"api.example.com.:80", "/a", "api.example.com/a", 2},
		{"[::1]:80", "/a", "/a", 2},
	}
	for _, tt := range tests {
		r, n := ix.find(tt.host, tt.path)
		if r == nil {
			t.Errorf("%s%s: no route, want %s", tt.host, tt.path, tt.want)
			continue
		}
		if got := r.listen.Host + r.listen.Path; got != tt.want || n != tt.length {
			t.Errorf("%s%s: got %s and %d, want %s and %d", tt.host, tt.path, got, n, tt.want, tt.length)
		}
	}
	none := newIndex([]*Route{routeAt("", "/a", "")})
	for _, path := range []string{"/", "/b", "*", "", "/ab"} {
		if r, _ := none.find("h", path); r != nil {
			t.Errorf("%q: got %s", path, r.listen.Path)
		}
	}
	loose := newIndex([]*Route{routeAt("", "/a", config.MatchPrefix), routeAt("", "/ab", config.MatchSegments)})
	if r, _ := loose.find("h", "/abc"); r == nil || r.listen.Path != "/a" {
		t.Errorf("loose by default: got %v", r)
	}
}

// FuzzIndex holds the lookup to the plain rule: the longest listen path that the path begins with, by whole segments.
func FuzzIndex(f *testing.F) {
	f.Add("/a/b/c")
	f.Add("/%61//b")
	f.Add("/a%2fb/%")
	listens := []string{"/", "/a", "/a/b", "/a/b/c", "/%", "/é"}
	var routes []*Route
	for _, l := range listens {
		routes = append(routes, routeAt("", l, ""))
	}
	ix := newIndex(routes)
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" {
			t.Skip() // a front never gives one (RFC 9112 §3.2.1)
		}
		r, n := ix.find("", path)
		name, want := unescapePath(path), ""
		for _, l := range listens {
			key := l
			if key == "/" {
				key = ""
			}
			if len(l) > len(want) && len(name) > len(key) && name[:len(key)] == key && name[len(key)] == '/' || name == key && key != "" && len(l) > len(want) {
				want = l
			}
		}
		got := ""
		if r != nil {
			got = r.listen.Path
			if rest := path[n:]; rest != "" && rest[0] != '/' {
				t.Errorf("%q: the rest %q does not begin with a slash", path, rest)
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		var routes []*Route
		for i := range n {
			routes = append(routes, routeAt("", fmt.Sprintf("/api/v1/service-%d", i), ""))
		}
		ix := newIndex(routes)
		path := fmt.Sprintf("/api/v1/service-%d/orders/17", n/2)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if r, _ := ix.find("h", path); r == nil {
						b.Fatal("not found")
					}
				}
			})
		})
	}
}
