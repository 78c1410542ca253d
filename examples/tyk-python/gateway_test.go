// Package tykpython_test runs the Python plugin servers of this folder behind the gateway.
package tykpython_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

func start(t *testing.T, python, script, stubs, mark string) gatewaytest.TykServer {
	t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	p, m := gatewaytest.Start(t, script, `^listening on (\S+)$`, []string{"PYTHONPATH=" + stubs, "PYTHONDONTWRITEBYTECODE=1"}, python, script, "--listen", "127.0.0.1:0")
	return gatewaytest.TykServer{Process: p, Address: m[1], Mark: mark}
}

func TestServers(t *testing.T) {
	python := gatewaytest.Python(t, "requirements.txt")
	program := gatewaytest.Program(t)
	definition, err := os.ReadFile("tyk.json")
	if err != nil {
		t.Fatal(err)
	}
	// A server written for Tyk, with stubs from the files that the gateway exports.
	t.Run("today", func(t *testing.T) {
		stubs := gatewaytest.Stubs(t, python, filepath.Join(gatewaytest.Export(t, program), "coprocess"), "*.proto")
		gatewaytest.CheckTyk(t, program, string(definition), start(t, python, "server.py", stubs, "+python"))
	})
	// Servers with the messages of years ago. Python's protobuf returns the fields it does not know.
	for name, year := range map[string]int{"2017": 2017, "2020": 2020} {
		t.Run(name, func(t *testing.T) {
			stubs := gatewaytest.Stubs(t, python, filepath.Join("old", "protos-"+name), "*.proto")
			server := start(t, python, "old/server.py", stubs, "+old")
			gatewaytest.CheckOldTyk(t, program, server, gatewaytest.Generation{Year: year})
		})
	}
}
