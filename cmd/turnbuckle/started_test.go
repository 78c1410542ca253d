package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// sampled is a test's full number in soaks, else a sample.
func sampled(full, sample int) int {
	if soaking() {
		return full
	}
	return sample
}

// startedFolder is a gateway's working directory with a plugin that it starts, which calls itself as name says.
func startedFolder(t *testing.T, upstream, name, more string) string {
	t.Helper()
	dir := folder(t, map[string]string{
		"plugins.d/greeter/plugin.yaml": "server: {command: [sh, run.sh]" + more + "}\n" +
			"hooks: [{name: Trail, phase: pre, timeout: 15s}, {name: Decide, phase: pre, timeout: 15s}]\n",
		"plugins.d/greeter/run.sh": "",
		"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n" +
			"hooks: {pre: [{hook: Trail, server: greeter}, {hook: Trail, server: greeter}]}\n",
		"apis/dies.yaml": "listen: {path: /dies}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{hook: Decide, server: greeter}]}\n",
		"tmp/none":       "",
	}, map[string]string{"UP": upstream})
	if err := os.Remove(dir + "/tmp/none"); err != nil {
		t.Fatal(err)
	}
	callIt(t, dir, name)
	return dir
}

// callIt changes the plugin's code, in one step.
func callIt(t *testing.T, dir, name string) {
	t.Helper()
	file := filepath.Join(dir, "plugins.d/greeter/run.sh")
	if err := os.WriteFile(file+"~", []byte("PLUGIN_NAME="+name+" exec plugin\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

var startedPID = regexp.MustCompile(`"pid": (\d+),\s+"starts"`)

// pids are those of the processes that the gateway has started.
func (g *served) pids() []string {
	g.t.Helper()
	var list []string
	for _, m := range startedPID.FindAllStringSubmatch(g.control("GET", "/v1/servers"), -1) {
		list = append(list, m[1])
	}
	return list
}

// lives reports whether a process runs.
func lives(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil && exec.Command("kill", "-0", pid).Run() != nil { // there may be no /proc
		return false
	}
	return !strings.Contains(string(stat), ") Z ")
}

// Plugin servers are replaced under load, by order and because their code has changed: no request fails, and the old
// processes end.
func TestStartedReplace(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := startedFolder(t, up.address, "v-0", ", instances: 2")
	g := startGateway(t, dir, []string{"TMPDIR=" + dir + "/tmp", "TURNBUCKLE_RUN_DIR=" + dir + "/tmp"})
	w := startLoad(t, g.url+"/a")
	w.through(t, "v-0")
	until(t, "two processes", func() bool { return len(g.pids()) == 2 })
	var old []string
	n := sampled(50, 3)
	for round := range n {
		before := g.pids()
		if reply := g.control("POST", "/v1/servers/greeter/replace"); statusOf(reply) != "200" {
			t.Fatalf("round %d: %s", round, reply)
		}
		for _, pid := range g.pids() {
			if slices.Contains(before, pid) {
				t.Fatalf("round %d: %s was not replaced", round, pid)
			}
		}
		old = append(old, before...)
		name := fmt.Sprintf("v-%d", round+1)
		before = g.pids()
		callIt(t, dir, name)
		w.through(t, name)
		old = append(old, before...)
	}
	w.end(t)
	until(t, "the end of replaced processes", func() bool { return !slices.ContainsFunc(old, lives) })
	t.Logf("%d replacements of two processes each, %d requests", 2*n, w.count)
}

// From a crash until requests succeed again, with the gateway's own binary as the keeper.
func TestStartedCrashToReady(t *testing.T) {
	t.Parallel()
	for _, tls := range []string{"required", "off"} {
		t.Run("tls "+tls, func(t *testing.T) {
			up := start(t, t.TempDir(), environment(), "upstream")
			dir := startedFolder(t, up.address, "one", ", handshake: {tls: "+tls+"}, restart: {crashes: 1000000, backoff: 1ms, max_backoff: 1ms}")
			g := startGateway(t, dir, []string{"TURNBUCKLE_RUN_DIR=" + dir + "/tmp"})
			var took []time.Duration
			for range sampled(100, 3) {
				if reply := ask(t, "-H", "X-Do: die", g.url+"/dies"); statusOf(reply) != "503" {
					t.Fatal(reply)
				}
				began := time.Now()
				until(t, "a request that succeeds", func() bool { return statusOf(ask(t, g.url+"/a")) == "200" })
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("crash -> ready, tls %s: n=%d p50=%v p90=%v max=%v", tls, len(took), took[len(took)/2], took[len(took)*9/10], took[len(took)-1])
		})
	}
}

// A gateway that is killed leaves nothing: no plugin server, nothing that one started, no keeper, no socket.
func TestStartedGatewayKilled(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	var took []time.Duration
	for round := range sampled(200, 2) {
		mark := strconv.Itoa(700000 + 1000*os.Getpid()%90000 + round)
		dir := startedFolder(t, up.address, "one", ", instances: 2, env: {MARK: \""+mark+"\"}")
		file := filepath.Join(dir, "plugins.d/greeter/run.sh")
		if err := os.WriteFile(file, []byte("setsid sleep $MARK.5 &\nPLUGIN_NAME=one exec plugin\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := launch(dir, environment("TURNBUCKLE_RUN_DIR="+dir+"/tmp"), "gateway", "turnbuckle", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", secret)
		if err != nil {
			t.Fatal(err)
		}
		g := &served{process: p, t: t, dir: dir, url: "http://" + p.address, admin: "http://" + p.admin}
		var pids []string
		until(t, "two processes, each with a child", func() bool {
			pids = g.pids()
			return len(pids) == 2 && strings.Count(commands(t), mark+".5") == 2
		})
		p.Kill()
		began := time.Now()
		if !processtest.Poll(func() bool {
			left, err := os.ReadDir(dir + "/tmp")
			return err == nil && len(left) == 0 && !slices.ContainsFunc(pids, lives) && !strings.Contains(commands(t), mark+".5")
		}) {
			t.Fatalf("round %d: something is left:\n%s", round, commands(t))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("gateway killed -> all gone: n=%d p50=%v max=%v", len(took), took[len(took)/2], took[len(took)-1])
}

// commands are those of all processes, a line each.
func commands(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "args").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
