package shiptest

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// Program finds a program that Debian packages, or skips the test; in CI it has to be there.
func Program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/lib/rabbitmq/bin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	what := "there is no " + name + ": make test installs it as root on Debian (.ci/install)"
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
	return ""
}

// FreePort is a port of the loopback interface that nobody listens on.
func FreePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
