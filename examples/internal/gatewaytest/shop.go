package gatewaytest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// CheckCommands runs every `turnbuckle plugin test` that the README of the example in the working directory shows. Each
// has to end well.
func CheckCommands(t *testing.T, program string) {
	readme := string(read(t, "README.md"))
	commands := regexp.MustCompile(`(?m)^ +turnbuckle (plugin test .+)$`).FindAllStringSubmatch(readme, -1)
	if len(commands) == 0 {
		t.Error("README.md shows no turnbuckle plugin test")
	}
	for _, c := range commands {
		t.Run(c[1], func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", `exec "$0" `+c[1], program).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// CheckShop holds the doorman of a shop's API, a script with a hook in every phase, to what its comments say.
func CheckShop(t *testing.T, g *Gateway) {
	const ada, bob = "Authorization: Bearer ada-token", "Authorization: Bearer bob-token"
	if r := g.Do(t, "GET", "/shop/healthz", ""); r.Status != 200 || string(r.Body) != "open\n" {
		t.Errorf("healthz: status %d with %q", r.Status, r.Body)
	}
	if r := g.Do(t, "GET", "/shop/v1/x", ""); r.Status != 401 || r.Header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(string(r.Body), "a bearer token is needed") {
		t.Errorf("nobody: status %d with %q, %v", r.Status, r.Body, r.Header)
	}
	if r := g.Do(t, "GET", "/shop/v1/x", "", "Authorization: Bearer guessed"); r.Status != 403 {
		t.Errorf("an unknown token: status %d with %q", r.Status, r.Body)
	}
	g.Await(t, `level=WARN .*unknown token `)
	for _, nth := range []string{"1", "2"} {
		r := g.Do(t, "GET", "/shop/v1/x?page=2&debug=1", "", bob)
		seen := r.Seen(t)
		wantHeader(t, seen.Header, http.Header{"X-Shop-Caller": {"bob"}, "X-Shop-Plan": {"basic"}, "X-Shop-Nth": {nth}, "Authorization": nil})
		if seen.Header.Get("X-Shop-Request") == "" || seen.URI != "/x?page=2" {
			t.Errorf("the upstream saw %s, %v", seen.URI, seen.Header)
		}
		wantSigned(t, r, "basic")
	}
	r := g.Do(t, "POST", "/shop/v1/orders", `{"item": "turnbuckle"}`, ada, "Content-Type: application/json")
	var order map[string]any
	if err := json.Unmarshal(r.Seen(t).Body, &order); err != nil || order["item"] != "turnbuckle" || order["caller"] != "ada" || order["discount"] != 10.0 {
		t.Errorf("the upstream got the order %v, %v", order, err)
	}
	wantSigned(t, r, "gold")
	if r := g.Do(t, "POST", "/shop/bytes", binary, ada); string(r.Body) != binary {
		t.Errorf("%q came back as %q", binary, r.Body)
	} else {
		wantSigned(t, r, "")
	}
	g.Await(t, `msg="replies: [1-9]\d*, failed: 0"`)
}

// wantSigned checks the signature of a reply, and the plan in its JSON, if there is one.
func wantSigned(t *testing.T, r *Reply, plan string) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte("change-me"))
	mac.Write(r.Body)
	if got, want := r.Header.Get("X-Shop-Signature"), base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("the signature is %q, want %q", got, want)
	}
	var object struct{ Plan string }
	if plan == "" {
		return
	}
	if err := json.Unmarshal(r.Body, &object); err != nil || object.Plan != plan {
		t.Errorf("the plan in the reply is %q, %v, want %q", object.Plan, err, plan)
	}
}
