// Package main_test holds the example servers to the specification of their protocols.
package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// report is what plugin conform writes.
type report struct {
	Passed    int
	Protocols []string
	Cases     []struct {
		ID, Result string
		Details    []string
	}
}

// conform holds a server to the specification. Cases in known may fail or warn, and have to.
func conform(t *testing.T, program string, least int, known map[string]string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, append([]string{"plugin", "conform", "--json", "--quick"}, args...)...).Output()
	var r report
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	seen := map[string]bool{}
	for _, c := range r.Cases {
		if c.Result == "fail" || c.Result == "warn" {
			seen[c.ID] = true
			if known[c.ID] != c.Result {
				t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
			}
		}
	}
	for id, result := range known {
		if !seen[id] {
			t.Errorf("%s: does not %s any more: take it off the list", id, result)
		}
	}
	if r.Passed < least {
		t.Errorf("%d cases passed, want at least %d", r.Passed, least)
	}
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "server")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, text)
	}
	return out
}

func TestServers(t *testing.T) {
	program := gatewaytest.Program(t)
	t.Run("conformance", func(t *testing.T) { conform(t, program, 165, nil, "--hooks", build(t, ".")) })
	t.Run("go-grpc", func(t *testing.T) { conform(t, program, 25, nil, build(t, "../go-grpc")) })
	t.Run("tyk-grpc", func(t *testing.T) {
		p, m := gatewaytest.Start(t, "tyk-grpc", `serving on (\S+)$`, nil, build(t, "../tyk-grpc"), "-listen", "127.0.0.1:0")
		conform(t, program, 5, nil, m[1])
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("tyk-node", func(t *testing.T) {
		node, modules := gatewaytest.Node(t, "../tyk-node")
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("../tyk-node")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "node_modules")); err != nil { // a developer's own
			t.Fatal(err)
		}
		if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		protos := filepath.Join(gatewaytest.Export(t, program), "coprocess")
		_, m := gatewaytest.Start(t, "server.js", `^listening on (\S+)$`, nil, node, filepath.Join(dir, "server.js"), "--protos", protos, "--listen", "127.0.0.1:0")
		conform(t, program, 5, nil, m[1])
	})
	t.Run("native-python", func(t *testing.T) {
		python := gatewaytest.Python(t, "../native-python/requirements.txt")
		stubs := gatewaytest.Stubs(t, python, gatewaytest.Export(t, program), "plugin/v1/*.proto")
		script, err := filepath.Abs("../native-python/server.py")
		if err != nil {
			t.Fatal(err)
		}
		env := []string{"PYTHONPATH=" + stubs, "PYTHONDONTWRITEBYTECODE=1"}
		_, m := gatewaytest.Start(t, "server.py", `^listening on (\S+)$`, env, python, script, "--listen", "127.0.0.1:0")
		// grpcio decodes frames before its server sees them, and has a status of its own for those it cannot.
		conform(t, program, 20, map[string]string{"streams/broken": "warn"}, m[1])
	})
}
