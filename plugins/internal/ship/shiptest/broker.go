package shiptest

import (
	"fmt"
	"math/rand/v2"
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

// FreePort is a port of the loopback interface that nobody listens on, below those that systems give away: a broker that was
// stopped finds it free when it is started again.
func FreePort(t *testing.T) int {
	t.Helper()
	const first, many, tries = 21_000, 11_000, 100
	for range tries {
		port := first + rand.N(many)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatalf("no free port in %d tries", tries)
	return 0
}
