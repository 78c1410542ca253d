package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// TestGroupReload: of two gateways on one Redis, asking one for a reload of the group has both read their files.
func TestGroupReload(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	api := func(path string) string {
		return "listen: {path: " + path + "}\nupstream: {url: \"http://" + up.address + "\"}\n"
	}
	env := []string{"TURNBUCKLE_WATCH=false", "TURNBUCKLE_STORE_TYPE=redis", "TURNBUCKLE_STORE_REDIS_ADDRESSES=" + server.Addr}
	var all []*served
	for range 2 {
		all = append(all, startGateway(t, folder(t, map[string]string{"apis/a.yaml": api("/a")}, nil), env))
	}
	for round, path := range []string{"/b", "/c"} {
		for _, g := range all {
			if err := os.WriteFile(filepath.Join(g.dir, "apis", "a.yaml"), []byte(api(path)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := all[round].control("GET", "/tyk/reload/group"); statusOf(got) != "200" || !strings.Contains(got, `"status": "ok"`) {
			t.Fatalf("got %s", got)
		}
		for _, g := range all {
			until(t, "the reload of a gateway of the group", func() bool { return statusOf(ask(t, g.url+path+"/x")) == "200" })
		}
	}
	for _, g := range all {
		if got := ask(t, g.url+"/b/x"); statusOf(got) != "404" {
			t.Errorf("got %s", got)
		}
	}
}
