package gatewaytest

import (
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// Patience bounds every wait for what has been caused and must come. Only a test that fails waits so long.
const Patience = processtest.Patience

// Process is a program that runs for a test.
type Process struct {
	inner *processtest.Process
	told  atomic.Bool // to end: a second signal may mean at once
}

// Start starts a program and returns when it has written something that matches ready, with the match and its groups.
// env is added to a minimal environment. The program is ended with the test, which fails if it does not end on SIGTERM.
func Start(t testing.TB, name, ready string, env []string, args ...string) (*Process, []string) {
	t.Helper()
	return start(t, name, t.TempDir(), ready, env, args...)
}

// start is Start in a folder.
func start(t testing.TB, name, home, ready string, env []string, args ...string) (*Process, []string) {
	t.Helper()
	race := processtest.QuickExit + " " + os.Getenv("GORACE")
	inner, err := processtest.Spawn(name, home, processtest.Environment(append([]string{"HOME=" + home, race}, env...)...), args...)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{inner: inner}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s%s", name, inner.Stdout, inner.Stderr)
		}
	})
	return p, p.Await(t, ready)
}

// Await returns the first match, with its groups, of a regular expression in what the process has written or will write.
// ^ and $ stand for the ends of lines.
func (p *Process) Await(t testing.TB, pattern string) []string {
	t.Helper()
	m, err := p.inner.Await(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.inner.Pid() }

// Terminate sends SIGTERM, as often as it is called, and does not wait.
func (p *Process) Terminate() {
	p.told.Store(true)
	_ = p.inner.Signal(syscall.SIGTERM) // what keeps it from ending shows in Stop
}

// Kill ends the process at once and waits until it has ended.
func (p *Process) Kill() { p.inner.Kill() }

// Stop sends SIGTERM, unless that was done, and waits. It reports an end other than with status 0 or by a signal, which for many a program is
// the ordinary end, and what looks like a crash of a Go program in what it wrote.
func (p *Process) Stop() error {
	if !p.told.Load() {
		p.Terminate()
	}
	if err := p.inner.Wait(); err != nil && !processtest.Signaled(err) {
		return err
	}
	return p.inner.Sound()
}
