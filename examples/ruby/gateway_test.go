// Package ruby_test runs the Ruby server of this folder behind the gateway, and holds it to the specification.
package ruby_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// TestRuby makes what needs Ruby ready once.
func TestRuby(t *testing.T) {
	ruby, stubs := gatewaytest.Ruby(t)
	program := gatewaytest.Program(t)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"STUBS=" + stubs}
	t.Run("own tests", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), ruby, filepath.Join("test", "gatekeeper_test.rb"))
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("3 runs, 5 assertions, 0 failures")) {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("conforms", func(t *testing.T) {
		// Debian's grpc has no watch of the health.
		gatewaytest.Conform(t, program, env, 114, []string{"server/watch"}, ruby, "conformance.rb")
	})
	t.Run("template", func(t *testing.T) {
		made := gatewaytest.New(t, program, "ruby")
		for _, args := range [][]string{{"sh", "stubs.sh"}, {ruby, "test/plugin_test.rb"}} {
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Dir = made
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", args, err, out)
			}
		}
		gatewaytest.CheckMade(t, program, made, ruby, filepath.Join(made, "server.rb"))
	})
	definition, err := os.ReadFile("native.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.CheckNative(t, program, string(definition), "+ruby", func(t *testing.T, address string) *gatewaytest.Process {
		p, _ := gatewaytest.Start(t, "server.rb", `^listening on (\S+)$`, env, ruby, filepath.Join(dir, "server.rb"), "--listen", address)
		return p
	})
}
