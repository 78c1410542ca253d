package js

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

func TestScripts(t *testing.T) {
	program := gatewaytest.Program(t)
	t.Run("commands", func(t *testing.T) { gatewaytest.CheckCommands(t, program) })
	up := gatewaytest.Upstream(t)
	g := gatewaytest.Serve(t, gatewaytest.Config{Program: program, Files: gatewaytest.Folder(t, up.URL)})
	t.Run("shop", func(t *testing.T) { gatewaytest.CheckShop(t, g) })
	t.Run("limits by address", func(t *testing.T) { limits(t, g) })
}

// limits: each address may make 100 requests in 60 s, whatever the script writes into its key on each of them.
func limits(t *testing.T, g *gatewaytest.Gateway) {
	if r := g.Do(t, "GET", "/limited/x", ""); r.Status != 400 || !bytes.Contains(r.Body, []byte("X-Real-Ip is missing")) {
		t.Errorf("status %d with %q", r.Status, r.Body)
	}
	served := 0
	for range 1000 {
		r := g.Do(t, "GET", "/limited/x?debug=1&n=1", "", "X-Real-Ip: 192.0.2.9")
		switch r.Status {
		case http.StatusOK:
			seen := r.Seen(t)
			if seen.URI != "/x?n=1" || seen.Header.Get("X-Greeting") != "hello, stranger" || seen.Header.Get("X-Tyk-Authorization") != "" {
				t.Fatalf("the upstream saw %s, %v", seen.URI, seen.Header)
			}
			served++
			continue
		case http.StatusTooManyRequests: // by the second: the quota is what ends it
			continue
		case http.StatusForbidden:
		default:
			t.Fatalf("status %d with %q", r.Status, r.Body)
		}
		break
	}
	if served != 100 {
		t.Errorf("%d requests were served, want 100", served)
	}
	if r := g.Do(t, "GET", "/limited/x", "", "X-Real-Ip: 192.0.2.9"); r.Status != 403 {
		t.Errorf("after its quota: status %d with %q", r.Status, r.Body)
	}
	for n := range 3 {
		if r := g.Do(t, "GET", "/limited/x", "", fmt.Sprintf("X-Real-Ip: 198.51.100.%d", n)); r.Status != 200 {
			t.Errorf("another address: status %d with %q", r.Status, r.Body)
		}
	}
}
