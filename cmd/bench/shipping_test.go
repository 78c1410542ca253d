package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
)

// A row counts only when everything that was to be shipped was.
func TestShipped(t *testing.T) {
	const good = "turnbuckle_builtin_total{name=\"delivered\",plugin=\"amqp\"} 7\nturnbuckle_builtin_level{name=\"queued\",plugin=\"amqp\"} 0\n"
	for _, test := range []struct{ metrics, want string }{
		{good, ""},
		{good + "turnbuckle_builtin_total{name=\"dropped\",plugin=\"amqp\"} 1\n", "1 records lost"},
		{good + "turnbuckle_observer_dropped_total{observer=\"x\"} 2\nturnbuckle_requests_total{route=\"a b\"} 9\n", "2 records lost of 9"},
		{good + "turnbuckle_builtin_level{name=\"spooled\",plugin=\"amqp\"} 3\n", "3 records still wait"},
		{"", "nothing was delivered"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, test.metrics) }))
		err := shipped(t.Context(), setup{kind: gateway, definition: "amqp", sink: sinks.Up}, strings.TrimPrefix(server.URL, "http://"))
		server.Close()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.metrics, err, test.want)
		}
	}
}

// The gateway takes the definition of every plugin that ships, with its sink's address in it.
func TestShippers(t *testing.T) {
	loader := config.Loader{}
	for _, p := range all.Plugins() {
		manifest, problems := config.ParseBuiltin(p.Name, p.Manifest, p.Check)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		loader.Builtins = append(loader.Builtins, manifest)
	}
	for _, name := range shippers() {
		dir := t.TempDir()
		if err := os.Mkdir(dir+"/apis", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := (workshop{upstream: "http://127.0.0.1:1"}).define(dir, name, 1, "127.0.0.1:4711"); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(dir + "/apis/bench-0.yaml")
		if err != nil || !strings.Contains(string(text), "127.0.0.1:4711") {
			t.Errorf("%s: %s, %v", name, text, err)
		}
		set, problems := loader.LoadDir(dir + "/apis")
		if len(set.Definitions) != 1 || len(set.Definitions[0].Use) != 1 || len(problems) > 0 || len(set.Refused) > 0 {
			t.Errorf("%s: %+v %v", name, set, problems)
		}
	}
}
