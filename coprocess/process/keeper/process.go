package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program with its keeper, as the host sees them. Its methods are safe for concurrent use.
type Process struct {
	cmd     *exec.Cmd // the keeper
	control *os.File
	private string
	pid     int
	exited  chan struct{} // closed when the program has ended
	done    chan struct{} // closed when nothing of it runs any more

	mu    sync.Mutex // also of writes to control
	usage Usage
	exit  Exit
	ended bool // exit is known
	gone  bool // the keeper said that nothing runs any more
}

// Start starts the program and returns when it runs. command is what makes the host's binary a keeper, without [Arg];
// nil is the running binary itself. The program writes to stdout and stderr, which stay the caller's to close. ctx bounds
// the start, not the program's life.
func Start(ctx context.Context, command []string, spec *Spec, stdout, stderr *os.File) (*Process, error) {
	if len(command) == 0 {
		self, err := own()
		if err != nil {
			return nil, err
		}
		command = []string{self}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for the keeper: %w", err)
	}
	for _, fd := range pair {
		unix.CloseOnExec(fd)
	}
	_ = unix.SetNonblock(pair[0], true) // so that closing it ends a read
	p := &Process{
		control: os.NewFile(uintptr(pair[0]), "keeper"), private: spec.Private,
		exited: make(chan struct{}), done: make(chan struct{}),
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	p.cmd = exec.Command(command[0], append(command[1:len(command):len(command)], Arg, spec.Args[0])...)
	p.cmd.Env = environment()
	p.cmd.Dir = "/"
	p.cmd.Stderr = stderr // should it crash
	p.cmd.ExtraFiles = []*os.File{theirs, stdout, stderr}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = p.cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = p.control.Close()
		return nil, fmt.Errorf("start a keeper: %w", err)
	}
	in := json.NewDecoder(p.control)
	if err := p.begin(ctx, in, spec); err != nil {
		_ = p.control.Close() // it ends, and cleans up
		p.bury(killWait)
		if errors.Is(err, errSilent) && p.cmd.ProcessState.ExitCode() < 0 && p.private != "" { // killed, it could not clean up
			_ = os.RemoveAll(p.private)
		}
		return nil, err
	}
	go p.follow(in)
	return p, nil
}

// environment is the keeper's own: what its Go runtime is to know.
func environment() []string {
	env := []string{"GOMAXPROCS=1"}
	for _, name := range []string{"GORACE", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// errSilent is that of a keeper that said nothing of the program.
var errSilent = errors.New("its keeper ended")

// begin has the keeper start the program.
func (p *Process) begin(ctx context.Context, in *json.Decoder, spec *Spec) error {
	stop := context.AfterFunc(ctx, func() { _ = p.control.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var m message
	err := json.NewEncoder(p.control).Encode(message{Start: spec})
	if err == nil {
		err = in.Decode(&m)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("start %s: %w: %w", spec.Path, context.Cause(ctx), errSilent)
	case err != nil:
		return fmt.Errorf("start %s: %w (%w)", spec.Path, errSilent, err)
	case m.Failed != "":
		return errors.New(m.Failed)
	}
	p.pid = m.Started
	return nil
}

// follow hears what the keeper has to say, until both have ended.
func (p *Process) follow(in *json.Decoder) {
	for {
		var m message
		if in.Decode(&m) != nil {
			break
		}
		p.mu.Lock()
		if m.Usage != nil {
			p.usage = *m.Usage
		}
		if m.Exit != nil {
			p.end(*m.Exit)
		}
		p.gone = p.gone || m.Gone
		p.mu.Unlock()
	}
	p.bury(killWait)
	p.mu.Lock()
	if !p.gone { // somebody killed it; the program's own end followed, by the kernel
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		if p.private != "" {
			_ = os.RemoveAll(p.private)
		}
	}
	p.end(Exit{Code: -1, Signal: "SIGKILL", Lost: true})
	p.mu.Unlock()
	_ = p.control.Close()
	close(p.done)
}

// end notes how the program ended, unless that is known. p.mu is held.
func (p *Process) end(e Exit) {
	if !p.ended {
		p.exit, p.ended = e, true
		close(p.exited)
	}
}

// killWait is how long a keeper may take to end all there is to end.
const killWait = 3 * time.Second

// bury waits for the keeper's end, and ends it itself when that takes too long.
func (p *Process) bury(wait time.Duration) {
	t := time.AfterFunc(wait, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	_ = p.cmd.Wait() // how a keeper ends says nothing
}

// PID is the program's process id.
func (p *Process) PID() int { return p.pid }

// Exited is closed when the program has ended; others that it started may still run, for a moment.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Done is closed when nothing of the program runs any more, and its folder is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the program ended, once Exited is closed.
func (p *Process) Exit() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Usage is what the program used when it was last looked at, a few seconds ago; zero before that.
func (p *Process) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage
}

// End has the program end: with SIGTERM to its process group, and with SIGKILL to all that is left after grace, or at
// once when that is not positive. It waits until nothing of it runs, which is bounded: a keeper that does not answer is
// killed, which ends the program.
func (p *Process) End(grace time.Duration) {
	p.mu.Lock()
	_ = p.control.SetWriteDeadline(time.Now().Add(time.Second))
	_ = json.NewEncoder(p.control).Encode(message{Stop: &stop{Grace: grace}})
	p.mu.Unlock()
	t := time.NewTimer(max(grace, 0) + killWait)
	defer t.Stop()
	select {
	case <-p.done:
		return
	case <-t.C:
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	_ = p.cmd.Process.Kill()
	<-p.done
}
