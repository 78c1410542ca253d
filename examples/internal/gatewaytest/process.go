package gatewaytest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for what has been caused and must come. Only a test that fails waits so long.
const Patience = 20 * time.Second

// Output gathers what a process writes, its errors included, and lets tests wait for it. It may be used concurrently.
type Output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

// Write keeps p. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

// String returns all that was written.
func (o *Output) String() string {
	text, _ := o.now()
	return text
}

func (o *Output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

// Process is a program that runs for a test.
type Process struct {
	// Output is what it has written so far.
	Output *Output

	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended is closed
}

// Start starts a program and returns when it has written something that matches ready, with the match and its groups.
// env is added to a minimal environment. The program is ended with the test, which fails if it does not end on SIGTERM.
func Start(t testing.TB, name, ready string, env []string, args ...string) (*Process, []string) {
	t.Helper()
	p := &Process{Output: &Output{more: make(chan struct{})}, name: name, ended: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.TempDir(), p.Output, p.Output
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.cmd.Dir, "TMPDIR=" + os.TempDir(),
		"GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE"), // or every gateway takes a second to end
	}, env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if err := p.Stop(); err != nil && !p.failed() {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", name, p.Output)
		}
	})
	return p, p.Await(t, ready)
}

// Await returns the first match, with its groups, of a regular expression in what the process has written or will write.
// ^ and $ stand for the ends of lines.
func (p *Process) Await(t testing.TB, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for ended := false; ; {
		text, more := p.Output.now()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		if ended {
			t.Fatalf("%s ended (%v) without writing %q", p.name, p.err, pattern)
		}
		select {
		case <-more:
		case <-p.ended:
			ended = true // once more, for what came last
		case <-deadline.C:
			t.Fatalf("%s has not written %q", p.name, pattern)
		}
	}
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Terminate sends SIGTERM and does not wait.
func (p *Process) Terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) } // it may have ended

// Kill ends the process at once and waits until it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Stop sends SIGTERM and waits. It reports an end other than with status 0 or by a signal that was sent here.
func (p *Process) Stop() error {
	p.Terminate()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.Kill()
		return fmt.Errorf("%s did not stop on SIGTERM", p.name)
	}
	if p.err != nil && !p.failed() {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// failed reports whether a signal ended the process: SIGTERM is for many a program the ordinary end.
func (p *Process) failed() bool {
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}
