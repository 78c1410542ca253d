package main

import (
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// TestGatewaysShareOneRedis: three gateways keep one rate and one quota; one that joins and one that is killed change
// nothing about it. While Redis is away, requests get 503 and the gateways are not ready; they recover alone.
func TestGatewaysShareOneRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "org: o\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\nauth: {all: [token]}\n"},
		map[string]string{"UP": up.address})
	tokens := seedRedis(t, server.Addr,
		&identity.Session{OrgID: "o", Rate: 10, Per: 3600}, &identity.Session{OrgID: "o", QuotaMax: 12, QuotaRenewalRate: 3600}, &identity.Session{OrgID: "o"})
	env := []string{"TURNBUCKLE_STORE_TYPE=redis", "TURNBUCKLE_STORE_REDIS_ADDRESSES=" + server.Addr, "TURNBUCKLE_STORE_REDIS_TIMEOUT=500ms"}
	var all []*served
	for range 3 {
		all = append(all, startGateway(t, dir, env))
	}
	passed := func(token string, times int) (n int, last string) {
		for i := range times {
			g := all[i%len(all)]
			if last = ask(t, "-H", "Authorization: "+token, g.url+"/a/x"); statusOf(last) == "200" {
				n++
			}
		}
		return n, last
	}
	if n, last := passed(tokens[0], 15); n != 10 || statusOf(last) != "429" {
		t.Errorf("%d of 15 passed under a rate of 10, the last:\n%s", n, last)
	}
	if n, _ := passed(tokens[1], 6); n != 6 {
		t.Errorf("%d of 6 passed under a quota of 12", n)
	}
	all = append(all, startGateway(t, dir, env)) // joins
	if n, _ := passed(tokens[0], 4); n != 0 {
		t.Errorf("%d more passed because a gateway has joined", n)
	}
	gone, err := launch(dir, environment(env...), "turnbuckle", "turnbuckle", "serve", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ask(t, "-H", "Authorization: "+tokens[1], "http://"+gone.address+"/a/x") // the seventh
	gone.Kill()
	if n, last := passed(tokens[1], 8); n != 5 || statusOf(last) != "403" {
		t.Errorf("%d of 8 passed under what is left of the quota, 5; the last:\n%s", n, last)
	}

	g := all[0]
	server.Kill()
	until(t, "not to be ready", func() bool { return statusOf(ask(t, g.url+"/ready")) == "503" })
	if got := ask(t, "-H", "Authorization: "+tokens[2], g.url+"/a/x"); statusOf(got) != "200" && statusOf(got) != "503" {
		t.Errorf("without limits while Redis is away: %s", got)
	}
	if got := ask(t, "-H", "Authorization: "+tokens[0], g.url+"/a/x"); statusOf(got) != "503" {
		t.Errorf("with a limit while Redis is away: %s", got)
	}
	server.Restart()
	until(t, "to be ready", func() bool { return statusOf(ask(t, g.url+"/ready")) == "200" })
	said := g.Stderr.String()
	if !strings.Contains(said, "the store is away") || !strings.Contains(said, "the store is back") || strings.Contains(said, "redis: 20") {
		t.Errorf("the log tells not, or not in its own form, that the store was away:\n%s", said)
	}
}

// seedRedis puts keys into a Redis and returns their tokens.
func seedRedis(t *testing.T, address string, sessions ...*identity.Session) []string {
	t.Helper()
	opened, err := redis.Open(t.Context(), redis.Options{Addrs: []string{address}, Prefix: redis.DefaultPrefix})
	if err != nil {
		t.Fatal(err)
	}
	return seedStore(t, opened, sessions...)
}

// TestContinueWithoutStore: with on_error continue, who is known from memory passes, uncounted, while Redis is away.
func TestContinueWithoutStore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "org: o\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\nauth: {all: [token]}\n"},
		map[string]string{"UP": up.address})
	tokens := seedRedis(t, server.Addr, &identity.Session{OrgID: "o", QuotaMax: 2, QuotaRenewalRate: 3600})
	g := startGateway(t, dir, []string{"TURNBUCKLE_STORE_TYPE=redis", "TURNBUCKLE_STORE_REDIS_ADDRESSES=" + server.Addr,
		"TURNBUCKLE_STORE_REDIS_TIMEOUT=500ms", "TURNBUCKLE_STORE_ON_ERROR=continue"})
	call := func() string { return ask(t, "-H", "Authorization: "+tokens[0], g.url+"/a/x") }
	if got := call(); statusOf(got) != "200" {
		t.Fatalf("before: %s", got)
	}
	server.Kill()
	for i := range 4 {
		if got := call(); statusOf(got) != "200" || strings.Contains(got, "X-Ratelimit-Remaining") {
			t.Errorf("request %d while Redis is away: %s", i, got)
		}
	}
	if got := ask(t, "-H", "Authorization: unknown", g.url+"/a/x"); statusOf(got) != "503" {
		t.Errorf("who is not known while Redis is away: %s", got)
	}
	if got := ask(t, g.url+"/ready"); statusOf(got) != "200" {
		t.Errorf("ready while a store that is not required is away: %s", got)
	}
}

// TestGatewaysShareFromMemory: three gateways that tell each other their load keep one rate between them, once they know of
// each other, and so do two when one has been killed.
func TestGatewaysShareFromMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "org: o\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\nauth: {all: [token]}\n"},
		map[string]string{"UP": up.address})
	var callers []*identity.Session
	for range 40 {
		callers = append(callers, &identity.Session{OrgID: "o", Rate: 60, Per: 3600})
	}
	tokens := seedRedis(t, server.Addr, callers...)
	env := []string{"TURNBUCKLE_STORE_TYPE=redis", "TURNBUCKLE_STORE_REDIS_ADDRESSES=" + server.Addr, "TURNBUCKLE_RATE_LIMITS_MODE=distributed", "TURNBUCKLE_ACCESS_LOG_ENABLED=false"}
	all := []string{startGateway(t, dir, env).url, startGateway(t, dir, env).url}
	third, err := launch(dir, environment(env...), "turnbuckle", "turnbuckle", "serve", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	share := func(urls ...string) func() bool { // whether a caller that nobody knows yet gets 60 of 120, give or take a tenth
		return func() bool {
			token, passed := tokens[0], 0
			tokens = tokens[1:]
			for i := range 120 {
				if statusOf(ask(t, "-H", "Authorization: "+token, urls[i%len(urls)]+"/a/x")) == "200" {
					passed++
				}
			}
			t.Logf("%d passed over %d gateways", passed, len(urls))
			return passed >= 54 && passed <= 66 || len(tokens) == 0
		}
	}
	until(t, "one limit over three", share(append(all, "http://"+third.address)...))
	third.Kill()
	until(t, "one limit over two", share(all...))
	if len(tokens) == 0 {
		t.Error("the gateways do not come to one limit")
	}
}
