package lua

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// openScript opens one file.
func openScript(t testing.TB, p script.Plugin, o Options, text string) *Server {
	t.Helper()
	if p.Name == "" {
		p.Name = "scripts"
	}
	if p.Watch == nil {
		p.Watch = newWatch(t)
	}
	p.Main = append(p.Main, script.Source{Name: "main.lua", Text: text})
	s, err := Open(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func hookOf(t testing.TB, s coprocess.Server, x *sdk.Exchange, name string, phase sdk.Phase) sdk.Hook {
	t.Helper()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: phase, Route: x.Route()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func BenchmarkHook(b *testing.B) {
	tests := []struct {
		name, text string
		tyk        bool
		phase      sdk.Phase
		body       int
	}{
		{"native/nothing", `function exports.h(x) end`, false, sdk.Pre, 0},
		{"native/header", `function exports.h(x) x.request.headers:set("X-New", "value") end`, false, sdk.Pre, 0},
		{"native/ten headers", `function exports.h(x) local h = x.request.headers for i = 1, 10 do h:set("X-New-" .. i, "value") end end`, false, sdk.Pre, 0},
		{"native/body", `exports.hooks = {h = {needs = {"body"}}} function exports.h(x) x.request:setBody((x.request:text():gsub("a", "b"))) end`, false, sdk.Pre, 1024},
		{"tyk/nothing", `function h(request, session, spec) return request, session end`, true, sdk.Pre, 0},
		{"tyk/header", `function h(request, session, spec) request.set_headers["X-New"] = "value" return request, session end`, true, sdk.Pre, 0},
		{"tyk/tyk.req", `function h(request, session, spec) tyk.req.set_header("X-New", "value") return request, session end`, true, sdk.Pre, 0},
		{"tyk/header read", `function h(request, session, spec) request.set_headers["X-New"] = request.headers["Accept"] return request, session end`, true, sdk.Pre, 0},
		{"tyk/auth", `function h(request, session, spec) return request, {rate = 10, metadata = {token = request.headers["Accept"]}} end`, true, sdk.Auth, 0},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			s := openScript(b, script.Plugin{}, Options{Tyk: tt.tyk}, tt.text)
			x, _ := coprocesstest.NewExchange()
			h := hookOf(b, s, x, "h", tt.phase)
			body := []byte(strings.Repeat("x", tt.body))
			b.ReportAllocs()
			for b.Loop() {
				x.Request().LoadBody(body)
				x.Begin(tt.phase, nil, false)
				if err := h.Handle(b.Context(), x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFresh is what a call costs with a state of its own, and BenchmarkIdle what a state holds.
func BenchmarkFresh(b *testing.B) {
	s := openScript(b, script.Plugin{Fresh: true}, Options{}, `function exports.h(x) x.request.headers:set("X-New", "value") end`)
	x, _ := coprocesstest.NewExchange()
	h := hookOf(b, s, x, "h", sdk.Pre)
	b.ReportAllocs()
	for b.Loop() {
		x.Begin(sdk.Pre, nil, false)
		if err := h.Handle(b.Context(), x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdle(b *testing.B) {
	w := newWatch(b)
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 100
		servers := make([]*Server, n)
		for i := range servers {
			servers[i] = openScript(b, script.Plugin{Name: fmt.Sprint(i), Watch: w}, Options{}, `function exports.h(x) end`)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/plugin")
		runtime.KeepAlive(servers)
	}
}
