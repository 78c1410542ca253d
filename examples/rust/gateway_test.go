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
		bin := gatewaytest.Rust(t, gatewaytest.New(t, program, "rust"))
		gatewaytest.ConformQuick(t, program, filepath.Join(bin, "made"))
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
