package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// An id of the correlation plugin, and tags of the bots plugin, reach upstream, client, access log and the webhook plugin's
// targets, errors included; a rate of a tag holds.
func TestCorrelationBotsWebhook(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var hooks []string
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		hooks = append(hooks, string(body))
	}))
	defer target.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Request-ID")+" "+r.Header.Get("X-Bot"))
	}))
	defer upstream.Close()
	dir := folder(t, map[string]string{"apis/a.yaml": `
listen: {path: /}
upstream: {url: "${UPSTREAM}"}
use:
  - plugin: correlation
  - plugin: bots
    config: {header: X-Bot, deny: {categories: [seo]}}
  - plugin: webhook
    config:
      allow: [127.0.0.0/8]
      targets:
        - {url: "${TARGET}", events: [RatelimitExceeded], template: "{{.type}} {{.request_id}}"}
limits:
  tags: {"bot:search-engine": {requests: 1, per: 1h}}
`}, map[string]string{"UPSTREAM": upstream.URL, "TARGET": target.URL})
	g := startGateway(t, dir, nil)
	get := func(agent string) (status int, id, body string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", agent)
		r.Header.Set("X-Request-ID", "from-nobody-we-trust")
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reply.Body.Close() }()
		text, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply.StatusCode, reply.Header.Get("X-Request-ID"), string(text)
	}
	status, id, body := get("Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0")
	if status != 200 || len(id) != 36 || body != id+" " {
		t.Errorf("a browser: %d, id %q, %q", status, id, body)
	}
	if status, id, _ = get("AhrefsBot/7.0"); status != 403 || len(id) != 36 {
		t.Errorf("a crawler that is denied: %d, id %q", status, id)
	}
	const google = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	if status, id, body = get(google); status != 200 || body != id+" bot,bot:search-engine" {
		t.Errorf("a crawler: %d, id %q, %q", status, id, body)
	}
	if status, id, _ = get(google); status != 429 || len(id) != 36 {
		t.Errorf("a crawler over the rate: %d, id %q", status, id)
	}
	until(t, "the webhook", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(hooks) == 1 && hooks[0] == "RatelimitExceeded "+id
	})
	until(t, "the access log", func() bool { return strings.Contains(g.Stdout.String(), `"request_id":"`+id+`"`) })
}
