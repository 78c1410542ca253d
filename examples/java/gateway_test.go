// Package java_test builds the Java server of this folder, which runs its own tests, runs it behind the gateway, and holds it to the
// specification.
package java_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// TestJava makes what needs a JDK ready once.
func TestJava(t *testing.T) {
	java, dir := gatewaytest.Java(t, ".")
	program := gatewaytest.Program(t)
	jar := filepath.Join(dir, "target", "plugin.jar")
	t.Run("conforms", func(t *testing.T) {
		// grpc-java decodes frames before its server sees them, and has a status of its own for those it cannot.
		gatewaytest.Conform(t, program, nil, 114, []string{"streams/broken"}, java, "-cp", jar, "example.Conformance")
	})
	t.Run("template", func(t *testing.T) {
		java, dir := gatewaytest.Java(t, gatewaytest.New(t, program, "java"))
		gatewaytest.CheckMade(t, program, dir, java, "-jar", filepath.Join(dir, "target", "plugin.jar"))
	})
	definition, err := os.ReadFile("native.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.CheckNative(t, program, string(definition), "+java", func(t *testing.T, address string) *gatewaytest.Process {
		p, _ := gatewaytest.Start(t, "plugin.jar", `^listening on (\S+)$`, nil, java, "-jar", jar, "--listen", address)
		return p
	})
}
