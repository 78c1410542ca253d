package config_test

import (
	"fmt"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

func ExampleLoader_Parse() {
	def, refused := config.Loader{}.Parse("hello.yaml", []byte(`
listen: {path: /hello}
upstream: {url: http://127.0.0.1:8000}
hooks:
  auth: [{server: hello, hook: Authenticate, timeout: 500ms}]
  post: [{server: hello, hook: Sign, body: {buffer: 64KiB}}]
`))
	if refused != nil {
		fmt.Println(refused.Problems.Err())
		return
	}
	fmt.Println(def.ID, def.Upstream.Targets[0].URL, def.HooksIn(config.PhaseAuth)[0].Timeout, def.Hooks.Post[0].Body.Limit)

	_, refused = config.Loader{}.Parse("broken.yaml", []byte("listen: {pathh: hello}\nupstream: {url: ftp://127.0.0.1}\n"))
	for _, p := range refused.Problems {
		fmt.Println(p.Error())
	}
	// Output:
	// hello http://127.0.0.1:8000 500ms 64KiB
	// broken.yaml:1:9: $.listen.path: a listen path is required
	// broken.yaml:1:17: $.listen.pathh: unknown key (did you mean "path"?)
	// broken.yaml:2:17: $.upstream.url: "ftp://127.0.0.1" must begin with http:// or https://
}

func BenchmarkParseNative(b *testing.B) {
	text := []byte("listen: {path: /hello}\nupstream: {url: http://127.0.0.1:8000}\nhooks: {pre: [{hook: Check}]}\n")
	for b.Loop() {
		if _, refused := (config.Loader{}).Parse("hello.yaml", text); refused != nil {
			b.Fatal(refused.Problems)
		}
	}
}

func BenchmarkParseClassic(b *testing.B) {
	loader := config.Loader{Classic: tyk.New(tyk.Options{})}
	for b.Loop() {
		if _, refused := loader.Parse("orders.json", []byte(classicOrders)); refused != nil {
			b.Fatal(refused.Problems)
		}
	}
}
