// Package proc runs the processes of a measurement, and reads what they cost: CPU time from the kernel's clock of
// the whole process, resident memory from /proc.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string   // for messages
	Args []string // the program and its arguments
	Dir  string   // working directory; empty: ours
	Env  []string // environment; nil: ours
	Log  string   // file for standard output and error; it is appended to
	// Ready reports whether the process can be used: nil when it can. It is asked again and again until it can,
	// or the process ends, or 30 s have passed.
	Ready func(context.Context) error
}

// Process is a running process. Stop it.
type Process struct {
	Name string
	PID  int
	// Started is the time from just before the process was made to when it was ready.
	Started time.Duration

	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	err    error // of cmd.Wait, once exited is closed
}

const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
	pollInterval = time.Millisecond
)

// Start runs a process and waits until it is ready. On an error nothing is left running.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Args[0], spec.Args[1:]...)
	cmd.Dir, cmd.Env = spec.Dir, spec.Env
	cmd.SysProcAttr = endWithParent()
	if spec.Log != "" {
		log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	p := &Process{Name: spec.Name, PID: cmd.Process.Pid, cmd: cmd, log: spec.Log, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	if err := p.waitReady(ctx, spec.Ready); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%s: %w%s", spec.Name, err, p.lastWords())
	}
	p.Started = time.Since(begin)
	return p, nil
}

func (p *Process) waitReady(ctx context.Context, ready func(context.Context) error) error {
	if ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("ended before it was ready: %v", p.err)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-tick.C:
		}
	}
}

// Stop asks the process to end, makes it when it has not within 5 s, and waits for it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// Alive reports an error when the process has ended.
func (p *Process) Alive() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %v%s", p.Name, p.err, p.lastWords())
	default:
		return nil
	}
}

// TrimLog empties the log when it has grown over 16 MiB: an access log at full load would fill the disk.
func (p *Process) TrimLog() error {
	if p.log == "" {
		return nil
	}
	info, err := os.Stat(p.log)
	if err != nil || info.Size() < 16<<20 {
		return err
	}
	return os.Truncate(p.log, 0)
}

// lastWords is the end of the log, for error messages.
func (p *Process) lastWords() string {
	if p.log == "" {
		return ""
	}
	text, err := os.ReadFile(p.log)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n\t" + strings.Join(lines[max(0, len(lines)-5):], "\n\t")
}

// Accepts is a Ready for a listener at an address: host:port, or unix: and a path.
func Accepts(address string) func(context.Context) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		return errors.Join(err, closeIf(conn))
	}
}

func closeIf(conn net.Conn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// FreeAddress returns a loopback host:port that was free a moment ago.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
