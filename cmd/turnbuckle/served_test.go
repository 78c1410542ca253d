package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// served is a gateway that runs for a Go test.
type served struct {
	*process
	t          *testing.T
	dir        string
	url, admin string
}

// folder writes files into a folder of its own, with a path short enough for sockets. ${NAME} in them stands for values.
func folder(t *testing.T, files, values map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text = os.Expand(text, func(v string) string {
			if v == "DIR" {
				return dir
			}
			return values[v]
		})
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startGateway serves the definitions in dir.
func startGateway(t *testing.T, dir string, env []string, flags ...string) *served {
	t.Helper()
	args := append([]string{"turnbuckle", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", secret}, flags...)
	p := start(t, dir, environment(env...), args...)
	g := &served{process: p, t: t, dir: dir, url: "http://" + p.address, admin: "http://" + p.admin}
	if strings.Contains(strings.Join(flags, " "), "--tls-cert") {
		g.url = "https://" + p.address
	}
	return g
}

// control asks the control listener.
func (g *served) control(method, path string) string {
	g.t.Helper()
	return ask(g.t, "-X", method, "-H", "Authorization: Bearer "+secret, g.admin+path)
}

// metric adds up the samples whose names and labels match.
func (g *served) metric(pattern string) float64 {
	g.t.Helper()
	sum := 0.0
	for _, m := range regexp.MustCompile("(?m)^(?:"+pattern+") (\\S+)$").FindAllStringSubmatch(g.control("GET", "/metrics"), -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			g.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// atRest fails the test unless every request has ended and the goroutines are as few as before.
func (g *served) atRest(before int) {
	g.t.Helper()
	until(g.t, "the end of every request", func() bool { return g.metric(`turnbuckle_requests_in_flight\{.*\}`) == 0 })
	now := 0
	if !processtest.Poll(func() bool { now = g.goroutines(); return now <= before+slack }) {
		g.t.Errorf("%d goroutines, %d before:\n%s", now, before, g.control("GET", "/debug/pprof/goroutine?debug=1"))
	}
}

// slack is how many goroutines may come and go by themselves: idle connections to the upstream and to the test.
const slack = 10

func (g *served) goroutines() int {
	g.t.Helper()
	m := regexp.MustCompile(`goroutine profile: total (\d+)`).FindStringSubmatch(g.control("GET", "/debug/pprof/goroutine?debug=1"))
	if m == nil {
		g.t.Fatal("no goroutine profile")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// statusOf is the status of a reply that ask returned.
func statusOf(reply string) string {
	line, _, _ := strings.Cut(reply, "\n")
	_, code, _ := strings.Cut(line, " ")
	code, _, _ = strings.Cut(code, " ")
	return code
}
