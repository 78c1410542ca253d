package gatewaytest

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TykServer is a plugin server written for Tyk, in some language, that runs. Its hooks are those of examples/tyk-python.
type TykServer struct {
	*Process
	// Address is where it listens, host:port.
	Address string
	// Mark is what its Rewrite hook appends to bodies.
	Mark string
	// Native says that it offers the native protocol too, which the gateway prefers: what failed is worded as there.
	Native bool
}

// failed checks the reply to a request whose hook failed.
func (s TykServer) failed(t *testing.T, r *Reply) {
	t.Helper()
	if s.Native {
		wantError(t, r, 503, "Plugin unavailable")
		return
	}
	wantError(t, r, 500, "Middleware error")
}

const key = "Authorization: open sesame"

// binary is no UTF-8, and has a NUL.
const binary = "\x00\xff\xfe binary \x80\r\n\x00"

// CheckTyk runs the classic definition of an example, and its server, behind the gateway and holds both to what an
// unmodified server sees and does behind Tyk: every hook, return overrides, the metadata token, events, bodies of any
// bytes, header lines of several values.
func CheckTyk(t *testing.T, program, definition string, server TykServer) {
	up := Upstream(t)
	const placeholder = "http://127.0.0.1:9000"
	if !strings.Contains(definition, placeholder) {
		t.Fatalf("the definition has no upstream %s", placeholder)
	}
	g := Serve(t, Config{
		Program: program, Server: "tcp://" + server.Address,
		APIs: map[string]string{"tyk.json": strings.ReplaceAll(definition, placeholder, up.URL)},
	})
	t.Run("request", func(t *testing.T) { tykRequest(t, g, strings.TrimPrefix(up.URL, "http://"), server.Mark) })
	t.Run("response", func(t *testing.T) { tykResponse(t, g) })
	t.Run("overrides", func(t *testing.T) { tykOverrides(t, g) })
	t.Run("auth", func(t *testing.T) { tykAuth(t, g, server) })
	t.Run("error", func(t *testing.T) {
		server.failed(t, g.Do(t, "GET", "/tyk/broken", "", key))
	})
	t.Run("away", func(t *testing.T) {
		server.Kill()
		server.failed(t, g.Do(t, "GET", "/tyk/x", "", key))
	})
}

func tykRequest(t *testing.T, g *Gateway, upstream, mark string) {
	seen := g.Do(t, "POST", "/tyk/old/a%2Fb?q=x%20y&keep=1", "body", key, "X-Remove: me", "X-Many: 1", "X-Many: 2", "X-Latin: caf\xe9").Seen(t)
	if seen.Method != "POST" || seen.URI != "/new/a%2Fb?keep=1&query=x+y" || string(seen.Body) != "body" {
		t.Errorf("the upstream saw %s %s with %q", seen.Method, seen.URI, seen.Body)
	}
	want := http.Header{
		"X-Greeting": {"hello " + strings.TrimPrefix(g.URL, "http://")},
		"X-Alias":    {"ali"}, "X-Plan": {"gold"}, "X-Tier": {"internal"},
		"X-Many": {"1", "2"}, "X-Latin": {"caf\xe9"},
		"X-Remove": nil, "Authorization": nil,
	}
	wantHeader(t, seen.Header, want, "X-Latin") // JSON has no other bytes than UTF-8
	if seen.Host != upstream {
		t.Errorf("the upstream was called %q, want %q", seen.Host, upstream)
	}
	for _, c := range []struct{ name, body, edit, want string }{
		{"text", "zwölf", "", "zwölf"},
		{"text, changed", "zwölf", "append", "zwölf" + mark},
		{"text, emptied", "zwölf", "empty", ""},
		{"binary", binary, "", binary},
		{"binary, changed", binary, "append", binary + mark},
		{"none", "", "", ""},
		{"none, changed", "", "append", mark},
		{"large", strings.Repeat("0123456789abcdef", 40_000), "", strings.Repeat("0123456789abcdef", 40_000)},
	} {
		r := g.Do(t, "POST", "/tyk/bytes/x", c.body, key, "X-Edit: "+c.edit)
		if r.Status != 200 || string(r.Body) != c.want {
			t.Errorf("body %s: status %d, %d bytes %.40q, want %d bytes %.40q", c.name, r.Status, len(r.Body), r.Body, len(c.want), c.want)
		}
	}
	if seen := g.Do(t, "POST", "/tyk/x", "b", key, "X-Method: PATCH").Seen(t); seen.Method != "PATCH" {
		t.Errorf("the upstream saw %s, want PATCH", seen.Method)
	}
}

func tykResponse(t *testing.T, g *Gateway) {
	r := g.Do(t, "PUT", "/tyk/text/x", "", key)
	if r.Status != 201 || string(r.Body) != "plain\nsigned\n" {
		t.Errorf("status %d with %q", r.Status, r.Body)
	}
	want := http.Header{
		"Set-Cookie": {"a=1", "b=2"}, "X-Signed": {"one", "two"}, "X-Single": {"yes"}, "X-Upstream": {"yes"},
		"X-Internal": nil, "Content-Type": {"text/plain"}, "Content-Length": {"13"},
	}
	wantHeader(t, r.Header, want)
	if r := g.Do(t, "GET", "/tyk/bare/x", "", key); r.Status != 200 || r.Header.Get("X-Single") != "yes" || !bytes.HasPrefix(r.Body, []byte("bare\n")) {
		t.Errorf("a reply without the header that the hook takes off: status %d with %q, %v", r.Status, r.Body, r.Header)
	}
}

func tykOverrides(t *testing.T, g *Gateway) {
	r := g.Do(t, "GET", "/tyk/teapot", "")
	if r.Status != 418 || string(r.Body) != "short & stout\n" || r.Header.Get("Content-Type") != "text/x-tea" {
		t.Errorf("with override_error: status %d, %q, %q", r.Status, r.Header.Get("Content-Type"), r.Body)
	}
	r = g.Do(t, "GET", "/tyk/closed", "")
	wantError(t, r, 451, "closed by order")
	wantHeader(t, r.Header, http.Header{"X-Reason": {"order"}, "Content-Type": {"application/json"}, "Set-Cookie": nil})
}

func tykAuth(t *testing.T, g *Gateway, server TykServer) {
	wantError(t, g.Do(t, "GET", "/tyk/x", "", "Authorization: guess"), 401, "unknown key")
	server.Await(t, `^event OnAuthFailure AuthFailure \S+$`)
	wantError(t, g.Do(t, "GET", "/tyk/x", ""), 401, "unknown key")
	r := g.Do(t, "GET", "/tyk/x", "", "Authorization: no token")
	if server.Native {
		wantError(t, r, 401, "Authentication required")
		return
	}
	wantError(t, r, 403, "Forbidden")
}

// Generation says which copy of the messages an old server was built from, and what its library does.
type Generation struct {
	Year int // 2017: neither raw_body nor replies; 2020: no multivalue_headers
	// Drops: the library drops fields it does not know, instead of returning them.
	Drops bool
}

// CheckOldTyk runs a server like examples/tyk-python/old behind the gateway: whatever it cannot return must not be lost
// (PROTOCOL.md 2.4).
func CheckOldTyk(t *testing.T, program string, server TykServer, gen Generation) {
	up := Upstream(t)
	api := func(id, hooks string) string {
		return `{"name": "` + id + `", "api_id": "` + id + `", "use_keyless": true, "active": true,
			"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
			"proxy": {"listen_path": "/` + id + `/", "target_url": "` + up.URL + `", "strip_listen_path": true},
			"custom_middleware": {"driver": "grpc", ` + hooks + `}}`
	}
	g := Serve(t, Config{Program: program, Server: "tcp://" + server.Address, APIs: map[string]string{
		"edit.json": api("edit", `"post": [{"name": "Edit"}]`),
		"sign.json": api("sign", `"response": [{"name": "Sign"}]`),
		"none.json": api("none", `"response": [{"name": "None"}]`),
	}})
	appended, emptied := "text"+server.Mark, ""
	if gen.Year == 2017 && !gen.Drops {
		appended, emptied = "text", "text" // raw_body came back as an unknown field, and it is what counts
	}
	for _, c := range []struct{ name, body, edit, want string }{
		{"text", "text", "", "text"},
		{"text, changed", "text", "append", appended},
		{"text, emptied", "text", "empty", emptied},
		{"binary", binary, "", binary},
		{"none", "", "", ""},
	} {
		r := g.Do(t, "POST", "/edit/bytes", c.body, "X-Edit: "+c.edit)
		if r.Status != 200 || string(r.Body) != c.want {
			t.Errorf("body %s: status %d with %q, want %q", c.name, r.Status, r.Body, c.want)
		}
	}
	seen := g.Do(t, "PUT", "/edit/x/?a=1", "text", "X-Many: 1", "X-Many: 2").Seen(t)
	wantHeader(t, seen.Header, http.Header{"X-Old": {"yes"}, "X-Many": {"1", "2"}})
	if seen.Method != "PUT" || seen.URI != "/x/?a=1" {
		t.Errorf("the upstream saw %s %s", seen.Method, seen.URI)
	}
	oldResponse(t, g, gen)
}

func oldResponse(t *testing.T, g *Gateway, gen Generation) {
	if gen.Year == 2017 && gen.Drops { // there is no response to be found in what comes back
		wantError(t, g.Do(t, "GET", "/sign/text", ""), 500, "Middleware error")
		return
	}
	whole := http.Header{"Set-Cookie": {"a=1", "b=2"}, "X-Upstream": {"yes"}, "X-Internal": {"secret"}, "Content-Type": {"text/plain"}}
	unchanged := g.Do(t, "GET", "/none/text", "")
	wantHeader(t, unchanged.Header, whole)
	if unchanged.Status != 200 || string(unchanged.Body) != "plain\n" {
		t.Errorf("a hook that changes nothing: status %d with %q", unchanged.Status, unchanged.Body)
	}
	if r := g.Do(t, "POST", "/none/bytes", binary); string(r.Body) != binary {
		t.Errorf("a hook that changes nothing: %q, want %q", r.Body, binary)
	}
	body := "plain\n"
	if gen.Year == 2020 {
		body = "plain\nsigned\n"
		whole["Set-Cookie"], whole["X-Internal"], whole["X-Single"] = []string{"a=2", "b=2"}, nil, []string{"yes"}
	}
	signed := g.Do(t, "GET", "/sign/text", "")
	wantHeader(t, signed.Header, whole)
	if signed.Status != 200 || string(signed.Body) != body {
		t.Errorf("signed: status %d with %q, want %q", signed.Status, signed.Body, body)
	}
}

// wantHeader compares the lines of the names in want. Of those in loose only the number of lines counts.
func wantHeader(t *testing.T, got, want http.Header, loose ...string) {
	t.Helper()
	for name, lines := range want {
		if slices.Contains(loose, name) && len(got[name]) == len(lines) {
			continue
		}
		if !slices.Equal(got[name], lines) {
			t.Errorf("%s is %q, want %q", name, got[name], lines)
		}
	}
}

// wantError checks a reply that the gateway rendered from its templates.
func wantError(t *testing.T, r *Reply, status int, message string) {
	t.Helper()
	if r.Status != status || !bytes.Contains(r.Body, []byte(`"error": "`+message+`"`)) {
		t.Errorf("status %d with %q, want %d %q", r.Status, r.Body, status, message)
	}
}
