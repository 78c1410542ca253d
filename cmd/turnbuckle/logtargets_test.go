package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
)

// The gateway's own log goes to a target besides, from the first line to the last, and a change of the settings moves it.
func TestLogTargets(t *testing.T) {
	t.Parallel()
	receive := func() (address string, lines <-chan string) {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		out := make(chan string, 1000)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			for s := bufio.NewScanner(conn); s.Scan(); {
				out <- s.Text()
			}
		}()
		return "tcp://" + l.Addr().String(), out
	}
	// wait reads until a line has the text in it; until fails the test when none comes.
	wait := func(lines <-chan string, text string) {
		t.Helper()
		until(t, "a line with "+text, func() bool {
			select {
			case line := <-lines:
				return strings.Contains(line, text)
			default:
				return false
			}
		})
	}
	first, lines := receive()
	dir := folder(t, map[string]string{
		"turnbuckle.yaml": "log: {targets: [{type: logstash, address: \"" + first + "\"}]}\n",
		"apis/a.yaml":     "listen: {path: /}\nupstream: {url: \"http://127.0.0.1:1\"}\n",
	}, nil)
	g := startGateway(t, dir, nil)
	wait(lines, `"message":"serving"`)
	second, more := receive()
	if reply := ask(t, "-X", "PATCH", "-H", "Authorization: Bearer "+secret, "-d", `{"log": {"targets": [{"type": "logstash", "address": "`+second+`"}]}}`, g.admin+"/v1/settings"); statusOf(reply) != "200" {
		t.Fatal(reply)
	}
	g.control(http.MethodPost, "/v1/reload")
	wait(more, `"message"`)
	if strings.Contains(g.control(http.MethodGet, "/v1/settings"), second) {
		t.Error("the settings show what may have a key in it")
	}
}
