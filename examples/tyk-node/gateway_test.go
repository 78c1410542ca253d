// Package tyknode_test runs the Node plugin servers of this folder behind the gateway.
package tyknode_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// start runs a script where it finds its modules, which are outside the tree.
func start(t *testing.T, node, modules, script, protos, mark string) gatewaytest.TykServer {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, script)
	if err := os.WriteFile(own, text, 0o644); err != nil {
		t.Fatal(err)
	}
	protos, err = filepath.Abs(protos)
	if err != nil {
		t.Fatal(err)
	}
	p, m := gatewaytest.Start(t, script, `^listening on (\S+)$`, nil, node, own, "--protos", protos, "--listen", "127.0.0.1:0")
	return gatewaytest.TykServer{Process: p, Address: m[1], Mark: mark}
}

func TestServers(t *testing.T) {
	node, modules := gatewaytest.Node(t, ".")
	program := gatewaytest.Program(t)
	definition, err := os.ReadFile("tyk.json")
	if err != nil {
		t.Fatal(err)
	}
	// A server written for Tyk, with the files that the gateway exports.
	t.Run("today", func(t *testing.T) {
		protos := filepath.Join(gatewaytest.Export(t, program), "coprocess")
		gatewaytest.CheckTyk(t, program, string(definition), start(t, node, modules, "server.js", protos, "+node"))
	})
	// Gateways that leave as soon as they have found out what the server speaks. grpc-js dies when a connection ends right after a call of a
	// method that it does not know.
	t.Run("gateways leave", func(t *testing.T) {
		protos := filepath.Join(gatewaytest.Export(t, program), "coprocess")
		server := start(t, node, modules, "server.js", protos, "+node")
		for range 5 {
			g := gatewaytest.Serve(t, gatewaytest.Config{Program: program, Server: "tcp://" + server.Address, APIs: map[string]string{"tyk.json": string(definition)}})
			if err := g.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		if err := server.Stop(); err != nil {
			t.Errorf("the server died: %v", err)
		}
	})
	// Servers with the messages of years ago, in a language whose library drops the fields it does not know.
	for name, year := range map[string]int{"2017": 2017, "2020": 2020} {
		t.Run(name, func(t *testing.T) {
			server := start(t, node, modules, "old.js", "../tyk-python/old/protos-"+name, "+old")
			gatewaytest.CheckOldTyk(t, program, server, gatewaytest.Generation{Year: year, Drops: true})
		})
	}
}
