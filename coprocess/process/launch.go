package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/control"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/output"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	shared "github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// running is one process, from its start to its end.
type running struct {
	s       *Server
	name    string // as a member of the rpc server
	proc    *keeper.Process
	out     *output.Output
	pipes   []*os.File // what it writes to, the ends that are read
	target  handshake.Target
	control *control.Conn

	begun, ready time.Time
	ctx          context.Context // ends with it
	cancel       context.CancelFunc
	owned        sync.WaitGroup
	readers      sync.WaitGroup
	lines        chan string   // the handshake's, one at most
	sick         chan struct{} // closed when it is unhealthy
	why          error         // then
}

// failure is why a process was not started, or did not get ready.
type failure struct {
	reason Reason
	err    error
	crash  *Crash // if it ran
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// launch starts a process and returns when it takes calls; ctx bounds that, and StartTimeout. Its error is a *failure.
func (s *Server) launch(ctx context.Context) (*running, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.StartTimeout, errors.New("it was not ready in time"))
	defer cancel()
	r := &running{s: s, begun: time.Now(), lines: make(chan string, 1), sick: make(chan struct{})}
	r.name = s.o.Name + "#" + strconv.FormatUint(s.started.Add(1), 10)
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	offer, err := r.start(ctx)
	if err != nil {
		r.cancel()
		return nil, &failure{reason: ReasonStart, err: err}
	}
	r.owned.Go(func() { // calls that are under way fail at once, and there are no more
		<-r.proc.Exited()
		s.rpc.Leave(r.name)
		r.cancel()
	})
	reason, err := r.prepare(ctx, offer)
	if err == nil {
		r.ready = time.Now()
		r.owned.Go(r.watchHealth)
		return r, nil
	}
	select {
	case <-r.proc.Exited(): // whatever went wrong, it went wrong because of that
		r.settle()
		c := r.crash()
		return nil, r.abort(&failure{c.Reason, errors.New(c.Error), c})
	default:
	}
	if ctx.Err() != nil {
		reason = ReasonTimeout
	}
	return nil, r.abort(&failure{reason: reason, err: err})
}

// abort ends what did not get ready.
func (r *running) abort(f *failure) error {
	r.end(0, 0)
	if f.crash == nil {
		f.crash = r.record(f.reason, f.err)
	}
	return f
}

// prepare completes what the keeper is told.
func (s *Server) prepare(ctx context.Context) (keeper.Spec, error) {
	spec := *s.spec
	if s.o.Prepare == nil {
		return spec, nil
	}
	command, err := s.o.Prepare(ctx)
	if err != nil {
		return spec, err
	}
	s.command.Store(&command)
	spec.Args = command
	spec.Path, err = program(command, spec.Dir)
	return spec, err
}

// start starts the process and begins to read what it writes.
func (r *running) start(ctx context.Context) (*handshake.Offer, error) {
	s := r.s
	spec, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	spec.Private = filepath.Join(s.o.RunDir, fmt.Sprintf("tb-%012x", rand.Uint64()&(1<<48-1)))
	offer, err := handshake.New(s.o.Handshake, spec.Private)
	if err != nil {
		return nil, err
	}
	spec.Env = append(append([]string(nil), spec.Env...), offer.Env()...)
	var ends []*os.File
	defer func() {
		for _, e := range ends {
			_ = e.Close()
		}
	}()
	for range 2 {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, r.closePipes())
		}
		r.pipes, ends = append(r.pipes, read), append(ends, write)
	}
	if r.proc, err = keeper.Start(ctx, s.o.Keeper, &spec, ends[0], ends[1]); err != nil {
		return nil, errors.Join(err, r.closePipes())
	}
	o := s.o.Output
	pid := r.proc.PID()
	o.Take = func(stream, line string) { s.o.Log.Info("plugin output", "pid", pid, "stream", stream, "line", line) }
	r.out = output.New(o)
	r.readers.Go(func() { r.out.Read("stdout", r.pipes[0], r.peek()) })
	r.readers.Go(func() { r.out.Read("stderr", r.pipes[1], nil) })
	return offer, nil
}

func (r *running) closePipes() error {
	var errs []error
	for _, p := range r.pipes {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// peek returns what looks out for the handshake's line: the first one, where that is what is agreed on, or the first that
// looks like it.
func (r *running) peek() func(line string) bool {
	mode := r.s.o.Handshake.Mode
	if mode == handshake.Plain {
		return nil
	}
	var seen atomic.Bool
	return func(line string) bool {
		if seen.Load() || mode == handshake.Auto && !handshake.Looks(line) {
			return false
		}
		seen.Store(true)
		r.lines <- line
		return true
	}
}

// prepare waits until the process takes calls.
func (r *running) prepare(ctx context.Context, offer *handshake.Offer) (Reason, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(r.ctx, func() { cancel(errors.New("it ended")) })
	defer stop()
	var err error
	if r.target, err = r.find(ctx, offer); err != nil {
		return ReasonHandshake, err
	}
	service := r.s.o.Health
	if r.target.Handshake {
		service = shared.HealthService
	}
	if r.control, err = control.Open(r.dial, r.target.TLS, service); err != nil {
		return ReasonHandshake, err
	}
	if r.target.Handshake {
		out, errs := r.out.Stream("stdout", nil), r.out.Stream("stderr", nil)
		r.readers.Go(func() {
			r.control.Stdio(r.ctx, func(stdout bool, p []byte) {
				w := errs
				if stdout {
					w = out
				}
				_, _ = w.Write(p) // never fails
			})
		})
	}
	if err := r.awaitHealth(ctx); err != nil {
		return ReasonUnhealthy, err
	}
	if err := r.s.rpc.Join(rpc.Member{Name: r.name, Dial: r.dial, TLS: r.target.TLS, Health: service}); err != nil {
		return ReasonStart, err
	}
	if err := r.s.rpc.Await(ctx, r.name); err != nil {
		return ReasonProtocol, err
	}
	return "", nil
}

// How often a plain plugin's socket is looked for, and a server that is not healthy yet asked again.
const (
	lookFirst = time.Millisecond
	lookMost  = 20 * time.Millisecond
)

// find waits until it is known where the process listens.
func (r *running) find(ctx context.Context, offer *handshake.Offer) (handshake.Target, error) {
	mode := r.s.o.Handshake.Mode
	wait := lookFirst
	tick := time.NewTimer(wait)
	defer tick.Stop()
	for {
		select {
		case line := <-r.lines:
			return offer.Accept(line)
		case <-ctx.Done():
			why := "and says not where it listens"
			if mode == handshake.GoPlugin {
				why = "and the first line on its standard output is to say so"
			}
			return handshake.Target{}, fmt.Errorf("%w: it does not listen at %s=unix:%s, %s",
				context.Cause(ctx), handshake.EnvListen, offer.Socket(), why)
		case <-tick.C:
			if mode != handshake.GoPlugin && r.listens(ctx, offer) {
				return offer.Plain(), nil
			}
			wait = min(2*wait, lookMost)
			tick.Reset(wait)
		}
	}
}

// listens reports whether somebody answers where a plain plugin is to listen.
func (r *running) listens(ctx context.Context, offer *handshake.Offer) bool {
	if _, err := os.Lstat(offer.Socket()); err != nil {
		return false
	}
	c, err := r.connect(ctx, offer.Plain())
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func (r *running) dial(ctx context.Context) (net.Conn, error) { return r.connect(ctx, r.target) }

// connect dials, and makes sure that who answers on a socket is who was started.
func (r *running) connect(ctx context.Context, t handshake.Target) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, t.Network, t.Address)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UnixConn); ok {
		uid := os.Geteuid()
		if own := r.s.spec.User; own != nil {
			uid = int(own.UID)
		}
		if err := checkPeer(u, uid); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}
