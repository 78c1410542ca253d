package rules

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// manyRules has n of each: plain path patterns that do not match, header changes on other paths, addresses.
func manyRules(t testing.TB, n int) (*Paths, *Sizes, *Headers, *IP) {
	var list []config.PathMatch
	var limits []config.PathLimit
	var headers config.HeaderTransforms
	var ip config.IP
	for i := range n {
		list = append(list, matches(fmt.Sprintf("/p%d/{x}", i), fmt.Sprintf("(i)/q%d/*", i), fmt.Sprintf("/r%d", i))...)
		limits = append(limits, config.PathLimit{PathMatch: list[i], Body: 5})
		headers.Paths = append(headers.Paths, config.PathHeaderChange{PathMatch: list[i], Request: change("A: 1"), Response: change("A: 1")})
		ip.Block = append(ip.Block, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
	}
	paths := mustPaths(t, config.PathLists{Block: list, Ignored: list})
	sizes, err := CompileSizes(100, limits)
	if err != nil {
		t.Fatal(err)
	}
	h, err := CompileHeaders(headers, config.HeaderTransforms{})
	if err != nil {
		t.Fatal(err)
	}
	return paths, sizes, h, CompileIP(ip)
}

// all asks every rule about a request that none of them concerns.
func all(f *flow.Flow, p *Paths, s *Sizes, to *Timeouts, h *Headers, ip *IP, v *Versions, c *CORS, now time.Time) bool {
	r := f.X.Request()
	_, err := v.Pick(&f.X, "/api", now)
	d := c.Begin(r)
	path := TrimListenPath(r.Path(), "/api", true)
	ok := err == nil && p.Check(r.Method(), path) == Allowed && ip.Check(netip.AddrFrom4([4]byte{192, 0, 2, 1})) == nil &&
		s.Enforce(f, path) == nil && to.Total(r.Method(), path) == 0
	h.Request(f, path, nil)
	h.Response(f.X.Response().Header(), r.Method(), path, nil)
	d.Apply(f.X.Response().Header())
	return ok
}

func request(path string) *flow.Flow {
	f := &flow.Flow{}
	f.X.Request().Fill(sdk.RequestInit{Method: "GET", Path: path})
	return f
}

func TestNoMatchAllocatesNothing(t *testing.T) {
	paths, sizes, headers, ip := manyRules(t, 100)
	versions := CompileVersions(config.Versions{List: []config.Version{{Name: "Default"}}})
	f := request("/api/users/17/.well-known")
	cors := CompileCORS(config.CORS{Enabled: true, Passthrough: true})
	now := time.Unix(1e9, 0)
	for name, run := range map[string]func() bool{
		"no rules": func() bool { return all(f, nil, nil, nil, nil, nil, versions, nil, now) },
		"many rules": func() bool {
			f.X.Response().Header().Reset()
			return all(f, paths, sizes, nil, headers, ip, versions, cors, now)
		},
	} {
		if !run() {
			t.Errorf("%s: a rule takes hold", name)
		}
		if n := testing.AllocsPerRun(100, func() { run() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkNoRules(b *testing.B) {
	versions := CompileVersions(config.Versions{List: []config.Version{{Name: "Default"}}})
	f := request("/api/users/17/orders")
	b.ReportAllocs()
	for b.Loop() {
		all(f, nil, nil, nil, nil, nil, versions, nil, time.Time{})
	}
}

func BenchmarkNoMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		paths, sizes, headers, ip := manyRules(b, n)
		versions := CompileVersions(config.Versions{List: []config.Version{{Name: "Default"}}})
		f := request("/api/users/17/orders")
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				all(f, paths, sizes, nil, headers, ip, versions, nil, time.Time{})
			}
		})
	}
}

func BenchmarkPathsCheck(b *testing.B) {
	lists, err := CompilePaths(config.PathLists{Block: matches("/admin/*", "~^/secret"), Allow: matches("/*")})
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/users/17/orders", "/users/a%20b/orders", "/x/..;/..%2f%2561dmin"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lists.Check("GET", path)
			}
		})
	}
}
