package js

import (
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func BenchmarkModern(b *testing.B) {
	BoundPatterns()
	w := script.NewWatch()
	defer w.Close()
	s, err := Open(b.Context(), script.Plugin{Name: "p", Watch: w, Main: []script.Source{{Name: "a.js", Text: `exports.pre=function(x){ x.request.headers.set("X-Client", x.client); }`}}}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bench(b, s, "pre")
}

func BenchmarkTyk(b *testing.B) {
	BoundPatterns()
	w := script.NewWatch()
	defer w.Close()
	s, err := Open(b.Context(), script.Plugin{Name: "p", Watch: w, Main: []script.Source{{Name: "a.js", Text: `var m = new TykJS.TykMiddleware.NewMiddleware({}); m.NewProcessRequest(function(request, session){ request.SetHeaders["X-Client"] = "a"; return m.ReturnData(request, {}) });`}}}, Options{Tyk: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bench(b, s, "m")
}

func bench(b *testing.B, s *Server, name string) {
	x, _ := coprocesstest.NewExchange()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: x.Route()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		x.Begin(sdk.Pre, nil, false)
		if err := h.Handle(b.Context(), x); err != nil {
			b.Fatal(err)
		}
	}
}
