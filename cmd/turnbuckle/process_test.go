package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that has been caused and must come. It is long because machines are busy;
// nothing waits for it to pass unless a test fails.
const patience = 20 * time.Second

// output gathers what a process writes and lets others wait for it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) String() string {
	text, _ := o.now()
	return text
}

func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

// process is one of our programs, running.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{}
	err            error  // once ended is closed
	address        string // where it listens, once it has said so
	admin          string // where its control listener is
	told           bool   // to end: a second signal would end it at once
}

// listening is how each program tells where it listens.
var (
	listening        = regexp.MustCompile(`(?m)(?:^listening on |msg=serving .*\baddress=|"msg":"serving","address":)"?([^\s"]+)`)
	controlListening = regexp.MustCompile(`(?m)msg"?[=:]"control listener",?[ "]*address[=":]*([^\s"]+)`)
	crashed          = regexp.MustCompile(`(?m)^(?:panic:|fatal error:|WARNING: DATA RACE|.*http: panic serving|.*msg=.*panic).*$`)
)

// spawn starts a program.
func spawn(dir string, env []string, name string, args ...string) (*process, error) {
	p := &process{name: name, stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// launch starts a program and waits until it says where it listens, or ends.
func launch(dir string, env []string, name string, args ...string) (*process, error) {
	p, err := spawn(dir, env, name, args...)
	if err != nil {
		return nil, err
	}
	for deadline := time.After(patience); ; {
		out, moreOut := p.stdout.now()
		errText, moreErr := p.stderr.now()
		if m := listening.FindStringSubmatch(out + "\n" + errText); m != nil {
			p.address = m[1]
			if m := controlListening.FindStringSubmatch(errText); m != nil {
				p.admin = m[1]
			}
			return p, nil
		}
		select {
		case <-moreOut:
		case <-moreErr:
		case <-p.ended:
			return nil, fmt.Errorf("%s ended (%v) before it listened:\n%s%s", name, p.err, p.stdout, p.stderr)
		case <-deadline:
			return nil, errors.Join(fmt.Errorf("%s does not say where it listens:\n%s%s", name, p.stdout, p.stderr), p.kill())
		}
	}
}

// await waits until the process has written something that matches, and returns the match.
func (p *process) await(pattern string) ([]string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return nil, err
	}
	for deadline := time.After(patience); ; {
		out, moreOut := p.stdout.now()
		errText, moreErr := p.stderr.now()
		if m := re.FindStringSubmatch(out + "\n" + errText); m != nil {
			return m, nil
		}
		select {
		case <-moreOut:
		case <-moreErr:
		case <-p.ended:
			if m := re.FindStringSubmatch(p.stdout.String() + "\n" + p.stderr.String()); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("%s ended without writing %q:\n%s%s", p.name, pattern, p.stdout, p.stderr)
		case <-deadline:
			return nil, fmt.Errorf("%s has not written %q:\n%s%s", p.name, pattern, p.stdout, p.stderr)
		}
	}
}

// stop asks the process to end and waits for it. It reports an exit other than with 0, and anything that looks like a
// crash in what the process wrote.
func (p *process) stop() error {
	if !p.told {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // for its stacks
		<-p.ended
		return fmt.Errorf("%s did not stop:\n%s", p.name, p.stderr)
	}
	var err error
	if p.err != nil {
		err = fmt.Errorf("%s: %w:\n%s", p.name, p.err, p.stderr)
	}
	return errors.Join(err, p.sound())
}

// sound reports what looks like a crash in what the process wrote.
func (p *process) sound() error {
	for _, line := range crashed.FindAllString(p.stderr.String(), -1) {
		if !strings.Contains(line, `msg="hook panicked"`) { // which is a plugin's affair
			return fmt.Errorf("%s: %s\n%s", p.name, line, p.stderr)
		}
	}
	return nil
}

// kill ends the process at once.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// quickExit spares processes under the race detector the second that they otherwise wait for it at their end.
const quickExit = "GORACE=atexit_sleep_ms=0"

// environment is what programs get in Go tests: no setting of whoever runs the tests.
func environment(more ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), quickExit, "TURNBUCKLE_DRAIN_TIMEOUT=5s"}
	return append(env, more...)
}

// start launches a program for a test and ends it with the test.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p, err := launch(dir, env, args[0], args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s%s", args[0], p.stdout, p.stderr)
		}
	})
	return p
}

// until polls what another process brings about and does not tell.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if !poll(condition) {
		t.Fatalf("%s did not happen", what)
	}
}

func poll(condition func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}
