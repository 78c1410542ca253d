package js

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// BenchmarkHook is one call, all in.
func BenchmarkHook(b *testing.B) {
	for _, c := range []struct {
		name, text, hook string
		options          Options
	}{
		{"modern/nothing", `exports.h = function (x) {};`, "h", Options{}},
		{"modern/header", `exports.h = function (x) { x.request.headers.set("X-Client", x.client); };`, "h", Options{}},
		{"modern/body", `exports.hooks = {h: {needs: ["default", "body"]}}; exports.h = function (x) { var o = x.request.json(); o.seen = true; x.request.setBody(JSON.stringify(o)); };`, "h", Options{}},
		{"tyk/nothing", middleware(`function (request, session) { return m.ReturnData(request, {}); }`), "m", Options{Tyk: true}},
		{"tyk/header", middleware(`function (request, session) { request.SetHeaders["X-Client"] = "a"; return m.ReturnData(request, {}); }`), "m", Options{Tyk: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := opened(b, c.text, c.options, nil)
			x, _ := coprocesstest.NewExchange()
			body := []byte(`{"name": "turnbuckle", "size": 12, "parts": ["hook", "eye", "body"]}`)
			h, err := s.Hook(sdk.HookUse{Name: c.hook, Phase: sdk.Pre, Route: x.Route()})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				x.Request().LoadBody(body)
				x.Begin(sdk.Pre, nil, false)
				if err := h.Handle(ctx, x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFresh is one call with an interpreter of its own.
func BenchmarkFresh(b *testing.B) {
	s := opened(b, `exports.h = function (x) { x.request.headers.set("X-Client", x.client); };`, Options{}, func(p *script.Plugin) { p.Fresh = true })
	x, _ := coprocesstest.NewExchange()
	b.ReportAllocs()
	for b.Loop() {
		if err := handle(b, b.Context(), s, "h", x, sdk.Pre); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is what a plugin costs to open: time, and as bytes what its first interpreter takes.
func BenchmarkOpen(b *testing.B) {
	w := newWatch(b)
	for _, tyk := range []bool{false, true} {
		b.Run(map[bool]string{false: "modern", true: "tyk"}[tyk], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := Open(b.Context(), script.Plugin{Name: "p", Main: []script.Source{{Name: "p.js", Text: "var n = 1;"}}, Watch: w}, Options{Tyk: tyk})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdle is what a plugin holds that nothing calls: its programs and one interpreter, as B/plugin.
func BenchmarkIdle(b *testing.B) {
	w := newWatch(b)
	for _, tyk := range []bool{false, true} {
		b.Run(map[bool]string{false: "modern", true: "tyk"}[tyk], func(b *testing.B) {
			text := `exports.h = function (x) { x.request.headers.set("X-Client", x.client); };`
			if tyk {
				text = middleware(`function (request, session) { return m.ReturnData(request, {}); }`)
			}
			for range b.N {
				const n = 100
				servers := make([]*Server, n)
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				for i := range servers {
					p := script.Plugin{Name: fmt.Sprint(i), Main: []script.Source{{Name: "p.js", Text: text}}, Watch: w}
					var err error
					if servers[i], err = Open(b.Context(), p, Options{Tyk: tyk}); err != nil {
						b.Fatal(err)
					}
				}
				runtime.GC()
				runtime.GC() // what pools kept goes with the second
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/plugin")
				for _, s := range servers {
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
