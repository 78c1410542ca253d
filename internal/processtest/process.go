package processtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Patience bounds every wait for something that has been caused and must come. It is long because machines are busy;
// nothing waits for it to pass unless a test fails.
const Patience = time.Minute

// Process is a program that runs. Stop or kill it. Its methods may be used concurrently.
type Process struct {
	// Name is what messages call it.
	Name string
	// Stdout and Stderr are what it has written so far.
	Stdout, Stderr *Output

	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended is closed
}

// outlive is how long what a process has started, and left behind, may hold its output open once it has ended: some leave a
// daemon behind, as RabbitMQ does epmd.
const outlive = 5 * time.Second

// Spawn starts a program, args[0], in a folder and with an environment of its own.
func Spawn(name, dir string, env []string, args ...string) (*Process, error) {
	p := &Process{Name: name, Stdout: NewOutput(), Stderr: NewOutput(), ended: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, p.Stdout, p.Stderr
	p.cmd.WaitDelay = outlive
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Await returns the first match, with its groups, of a regular expression in what the process has written or will write
// to either stream. ^ and $ stand for the ends of lines. A process that ends without having written it, or has not within
// Patience, is an error with all that it wrote.
func (p *Process) Await(pattern string) ([]string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return nil, err
	}
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for ended := false; ; {
		out, moreOut := p.Stdout.now()
		errText, moreErr := p.Stderr.now()
		if m := re.FindStringSubmatch(out + "\n" + errText); m != nil {
			return m, nil
		}
		if ended {
			return nil, fmt.Errorf("%s ended (%v) without writing %q:\n%s%s", p.Name, p.err, pattern, out, errText)
		}
		select {
		case <-moreOut:
		case <-moreErr:
		case <-p.ended:
			ended = true // once more, for what came last
		case <-deadline.C:
			return nil, fmt.Errorf("%s has not written %q:\n%s%s", p.Name, pattern, out, errText)
		}
	}
}

// Wrote reports whether a regular expression matches what the process has written so far, and what of it.
func (p *Process) Wrote(re *regexp.Regexp) (string, bool) {
	text := p.Stdout.String() + "\n" + p.Stderr.String()
	at := re.FindStringIndex(text)
	if at == nil {
		return "", false
	}
	return text[at[0]:at[1]], true
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal. A process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// Kill ends the process at once, as a crash would, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Stop tells the process to end, with SIGTERM, and waits for it.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Wait()
}

// Wait waits until the process, which has been told to end, has ended. It reports an end other than with status 0, and
// what looks like a crash in what it wrote. One that does not end within Patience is ended for its stacks.
func (p *Process) Wait() error {
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		_ = p.Signal(syscall.SIGQUIT) // a Go program writes its stacks
		select {
		case <-p.ended:
		case <-time.After(Patience):
			p.Kill()
		}
		return fmt.Errorf("%s did not stop:\n%s", p.Name, p.Stderr)
	}
	var err error
	if p.err != nil {
		err = fmt.Errorf("%s: %w:\n%s", p.Name, p.err, p.Stderr)
	}
	return errors.Join(err, p.Sound())
}

// Sound reports what looks like a crash in what the process wrote. A panic that a gateway caught in a plugin's hook is the
// plugin's affair.
func (p *Process) Sound() error {
	for line := range strings.Lines(p.Stderr.String()) {
		line = strings.TrimSuffix(line, "\n")
		if suspect(line) && crashes.MatchString(line) && !strings.Contains(line, `msg="hook panicked"`) {
			return fmt.Errorf("%s: %s\n%s", p.Name, line, p.Stderr)
		}
	}
	return nil
}

// suspect says which lines are worth matching: of the megabytes that some programs write, under the race detector, matching
// takes many seconds.
func suspect(line string) bool {
	return strings.Contains(line, "panic") || strings.Contains(line, "fatal error:") || strings.Contains(line, "DATA RACE")
}

// Signaled reports whether a signal ended the process, which for many a program is the ordinary end.
func Signaled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// QuickExit in an environment spares programs under the race detector the second that they otherwise wait for it at
// their end.
const QuickExit = "GORACE=atexit_sleep_ms=0"

// Environment is that of a test's programs: a path, a place for temporary files, and no setting of whoever runs the tests.
func Environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), QuickExit}, more...)
}

// Poll asks again and again until a condition holds that another process brings about and does not tell. It reports
// false when Patience has passed.
func Poll(condition func() bool) bool {
	deadline := time.NewTimer(Patience)
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
