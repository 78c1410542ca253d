package lua

import (
	"bytes"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

func TestScripts(t *testing.T) {
	program := gatewaytest.Program(t)
	t.Run("commands", func(t *testing.T) { gatewaytest.CheckCommands(t, program) })
	up := gatewaytest.Upstream(t)
	g := gatewaytest.Serve(t, gatewaytest.Config{Program: program, Files: gatewaytest.Folder(t, up.URL)})
	t.Run("shop", func(t *testing.T) { gatewaytest.CheckShop(t, g) })
	t.Run("tyk", func(t *testing.T) { threeArguments(t, g) })
}

// threeArguments: hooks that were written for Tyk.
func threeArguments(t *testing.T, g *gatewaytest.Gateway) {
	for _, c := range []struct {
		status  int
		message string
		header  []string
	}{
		{400, "X-Client is missing", nil},
		{401, "unknown key", []string{"X-Client: ada", "Authorization: guess"}},
		{401, "unknown key", []string{"X-Client: ada"}},
	} {
		if r := g.Do(t, "GET", "/tyk/x", "", c.header...); r.Status != c.status || !bytes.Contains(r.Body, []byte(c.message)) {
			t.Errorf("%v: status %d with %q, want %d %q", c.header, r.Status, r.Body, c.status, c.message)
		}
	}
	body := "text \x00\xff"
	seen := g.Do(t, "POST", "/tyk/x?q=1", body, "X-Client: ada", "X-Remove: me", "Authorization: open-sesame").Seen(t)
	if seen.URI != "/x?api=tyk-lua&q=1" || string(seen.Body) != body {
		t.Errorf("the upstream saw %s with %q", seen.URI, seen.Body)
	}
	for name, want := range map[string]string{"X-Greeting": "hello ada", "X-Alias": "ali", "X-Plan": "gold", "X-Remove": "", "Authorization": ""} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
