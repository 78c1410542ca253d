package kit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
)

// Program is a server that was started.
type Program struct {
	at        Place
	handshake bool
	cmd       *exec.Cmd
	offer     *handshake.Offer
	mode      handshake.Mode
	lines     chan string // one that may be the handshake's
	dir       string
	said      *tail
	done      chan struct{}
	err       error // once done is closed
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 2000

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

// String returns it.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf[max(0, len(t.buf)-tailBytes):]))
}

// start starts a command as the gateway would, and waits until it is known where it listens. It gets the environment of
// who holds it to the specification: an interpreter may need it.
func start(ctx context.Context, o *Options) (*Program, error) {
	dir, err := os.MkdirTemp("", "conform") // a socket's path is short
	if err != nil {
		return nil, err
	}
	p := &Program{mode: o.Handshake.Mode, lines: make(chan string, 1), dir: dir, said: &tail{}, done: make(chan struct{})}
	if p.offer, err = handshake.New(o.Handshake, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.cmd = exec.Command(o.Command[0], o.Command[1:]...)
	p.cmd.Env = append(os.Environ(), p.offer.Env()...)
	read, write := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = write, p.said
	p.cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", o.Command[0], err), os.RemoveAll(dir))
	}
	heard := make(chan struct{})
	go func() { defer close(heard); p.listen(read) }()
	go func() {
		p.err = p.cmd.Wait()
		_ = write.Close() // it never fails
		<-heard
		close(p.done)
	}()
	if err := p.find(ctx); err != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", o.Command[0], err, p.said), os.RemoveAll(dir))
	}
	return p, nil
}

// listen reads the standard output to its end, and looks out for the handshake's line: the first, where that is what was
// agreed on, or the first that looks like it.
func (p *Program) listen(r io.Reader) {
	lines := bufio.NewReader(r)
	for looking := p.mode != handshake.Plain; looking; {
		line, err := lines.ReadString('\n')
		_, _ = p.said.Write([]byte(line)) // never fails
		if err != nil {
			return
		}
		if p.mode == handshake.GoPlugin || handshake.Looks(line) {
			p.lines <- line
			looking = false
		}
	}
	_, _ = io.Copy(p.said, lines) // ends with the program
}

// startTime is how long a server may take until it listens: interpreters on busy machines take their time.
const startTime = 30 * time.Second

// find waits until it is known where the program listens, by its handshake or by the socket it was told to listen on.
func (p *Program) find(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case line := <-p.lines:
			target, err := p.offer.Accept(line)
			if err != nil {
				return err
			}
			return p.reach(ctx, target)
		case <-p.done:
			return fmt.Errorf("ended (%w) before it listened at %s=unix:%s", orClean(p.err), handshake.EnvListen, p.offer.Socket())
		case <-ctx.Done():
			return fmt.Errorf("does not listen at %s=unix:%s, and says not where: %w", handshake.EnvListen, p.offer.Socket(), ctx.Err())
		case <-tick.C:
			if p.mode == handshake.GoPlugin {
				continue
			}
			if _, err := os.Lstat(p.offer.Socket()); err == nil && p.reach(ctx, p.offer.Plain()) == nil {
				return nil
			}
		}
	}
}

// reach connects, and keeps where to.
func (p *Program) reach(ctx context.Context, t handshake.Target) (err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, t.Network, t.Address)
	if err != nil {
		return err
	}
	text := t.Network + "://" + t.Address
	if t.Network == "unix" {
		text = "unix:" + t.Address
	}
	p.handshake = t.Handshake
	p.at, err = PlaceOf(text, t.TLS)
	return errors.Join(err, conn.Close())
}

var errClean = errors.New("with status 0")

func orClean(err error) error {
	if err == nil {
		return errClean
	}
	return err
}

func (p *Program) hasEnded() (string, bool) {
	select {
	case <-p.done:
		return fmt.Sprintf("%v: %s", orClean(p.err), p.said), true
	default:
		return "", false
	}
}

// Terminate asks it to end.
func (p *Program) Terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Await waits until it has ended.
func (p *Program) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("still runs %v after SIGTERM", endTime)
	}
}

// endTime is how long a server that drains may take: longer than SDKs give calls by default.
const endTime = 15 * time.Second

// Stop ends it, by force if need be, and removes what was made for it. That it needed force is an error.
func (p *Program) Stop(ctx context.Context) error {
	if _, ended := p.hasEnded(); ended {
		return os.RemoveAll(p.dir)
	}
	err := p.Terminate()
	if err == nil {
		err = p.Await(context.WithoutCancel(ctx))
	}
	if err != nil {
		_ = p.cmd.Process.Kill() // it may have ended meanwhile
		<-p.done
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
