package main

import (
	"net"
	"testing"
)

// TestReadyWhileLoading: a plugin server that takes connections and says nothing holds the load up, within its bound;
// meanwhile the gateway lives and is not ready.
func TestReadyWhileLoading(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\nhooks: {pre: [{hook: X}]}\n"}, nil)
	p, err := spawn(dir, environment("TURNBUCKLE_LOAD_TIMEOUT=3s", "TURNBUCKLE_SERVERS_DEFAULT_CONNECT_TIMEOUT=1m"), "turnbuckle", "turnbuckle", "serve",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", secret, "--plugin-server", "tcp://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	m, err := p.Await(`msg="control listener" address=(\S+)`)
	if err != nil {
		t.Fatal(err)
	}
	admin := "http://" + m[1]
	if got := ask(t, admin+"/ready"); statusOf(got) != "503" {
		t.Errorf("while loading: %s", got)
	}
	if got := ask(t, admin+"/hello"); statusOf(got) != "200" {
		t.Errorf("while loading: %s", got)
	}
	m, err = p.Await(`msg=serving address=(\S+)`)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, admin+"/ready"); statusOf(got) != "200" {
		t.Errorf("once loaded: %s", got)
	}
	if got := ask(t, "http://"+m[1]+"/a"); statusOf(got) != "503" {
		t.Errorf("its hook is unavailable: %s", got)
	}
}
