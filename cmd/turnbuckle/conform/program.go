package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// program is a server that was started.
type program struct {
	address  string
	cmd      *exec.Cmd
	dir      string
	said     *tail
	patience time.Duration
	done     chan struct{}
	err      error // once done is closed
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

// start starts a command and waits until it listens.
func start(ctx context.Context, command []string, patience time.Duration) (*program, error) {
	dir, err := os.MkdirTemp("", "conform") // a socket's path is short
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	p := &program{address: "unix:" + socket, cmd: exec.Command(command[0], command[1:]...), dir: dir, said: &tail{}, patience: patience, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "TURNBUCKLE_LISTEN="+p.address, "TURNBUCKLE_PLUGIN_LISTEN="+p.address)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", command[0], err), os.RemoveAll(dir))
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.listens(ctx, socket); err != nil {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", command[0], err, p.said), os.RemoveAll(dir))
	}
	return p, nil
}

// startTime is how long a server may take until it listens: interpreters on busy machines take their time.
const startTime = 30 * time.Second

func (p *program) listens(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("ended (%w) before it listened at TURNBUCKLE_LISTEN=%s", orClean(p.err), p.address)
		case <-ctx.Done():
			return fmt.Errorf("does not listen at TURNBUCKLE_LISTEN=%s: %w", p.address, ctx.Err())
		case <-tick.C:
		}
	}
}

var errClean = errors.New("with status 0")

func orClean(err error) error {
	if err == nil {
		return errClean
	}
	return err
}

func (p *program) hasEnded() (string, bool) {
	select {
	case <-p.done:
		return fmt.Sprintf("%v: %s", orClean(p.err), p.said), true
	default:
		return "", false
	}
}

// terminate asks it to end.
func (p *program) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// await waits until it has ended.
func (p *program) await(ctx context.Context) error {
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

// stop ends it, by force if need be, and removes what was made for it. That it needed force is an error.
func (p *program) stop(ctx context.Context) error {
	if _, ended := p.hasEnded(); ended {
		return os.RemoveAll(p.dir)
	}
	err := p.terminate()
	if err == nil {
		err = p.await(context.WithoutCancel(ctx))
	}
	if err != nil {
		_ = p.cmd.Process.Kill() // it may have ended meanwhile
		<-p.done
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
