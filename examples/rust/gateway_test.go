// Package rust_test builds the Rust server of this folder, runs its own tests, runs it behind the gateway, and holds it to the
// specification.
package rust_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// TestRust makes what needs Cargo ready once.
func TestRust(t *testing.T) {
	bin := gatewaytest.Rust(t, ".")
	program := gatewaytest.Program(t)
	t.Run("conforms", func(t *testing.T) {
		gatewaytest.Conform(t, program, nil, 115, nil, filepath.Join(bin, "conformance"))
	})
	t.Run("template", func(t *testing.T) {
		made := gatewaytest.New(t, program, "rust")
		built, release := filepath.Join(gatewaytest.Rust(t, made), "made"), filepath.Join(made, "target", "release")
		if err := os.MkdirAll(release, 0o755); err != nil {
			t.Fatal(err)
		}
		binary, err := os.ReadFile(built)
		if err == nil {
			err = os.WriteFile(filepath.Join(release, "made"), binary, 0o755) // a plugin's program lies in its folder
		}
		if err != nil {
			t.Fatal(err)
		}
		gatewaytest.CheckMade(t, program, made, built)
		if err := os.RemoveAll(filepath.Join(made, "target")); err != nil {
			t.Fatal(err)
		}
		// Cargo has built it, as it does for tests: with optimizations it would take minutes.
		gatewaytest.CheckRun(t, program, made, "cargo", "build --release", "mkdir -p target/release && cp '"+built+"' target/release/made")
	})
	definition, err := os.ReadFile("native.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.CheckNative(t, program, string(definition), "+rust", func(t *testing.T, address string) *gatewaytest.Process {
		p, _ := gatewaytest.Start(t, "gatekeeper", `^listening on (\S+)$`, nil, filepath.Join(bin, "gatekeeper"), "--listen", address)
		return p
	})
}
