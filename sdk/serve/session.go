package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// A session is one stream of the native protocol.
//
// Its goroutines are all alike. Each does what is most pressing: run a call, send what has been finished, receive a
// frame; one that finds nothing to do parks. Before one does something that may block, running a hook or sending, it
// makes sure that another is free to do the rest, waking or starting one if need be. So the goroutine that received a
// frame of quick calls runs them all one after the other and answers with one frame, without a switch in between,
// while a call that blocks costs the others nothing: whoever was made free takes them, and so on. There is no timer
// anywhere, and no wait that is not a wait for something to do.
type session struct {
	server   *Server
	stream   grpc.ServerStream
	ctx      context.Context
	done     chan struct{} // closed when the stream is to end
	bindings bindings      // touched only by whoever receives

	mu      sync.Mutex
	queue   queue
	calls   int       // queued or running
	running []*worker // those in hooks, in no order
	free    int       // workers neither in a hook nor sending; one that receives is free
	idle    []*worker // parked, the last parked last

	receiving bool
	sending   bool
	received  uint64 // highest seq taken
	out       outbox
	draining  bool  // the host has been, or is to be, told to send no more
	drained   bool  // the host will send no more calls
	closed    bool  // the host will send nothing more
	err       error // why the stream fails: what waits is dropped
	ended     bool  // nothing more will be done
}

const (
	// lingers is how often a goroutine that has something to send lets others run first, while calls run that may be
	// just as quick: one frame instead of two saves system calls on both sides.
	lingers = 8
	// patience is how long a finished reply waits for the rest of its batch.
	patience = 200 * time.Microsecond
	// maxIdle is how many goroutines stay parked for the next burst.
	maxIdle = 64
)

// serveSession serves one stream until the host closes it, or either side drains and all calls are answered.
func (s *Server) serveSession(stream grpc.ServerStream) error {
	e := &session{
		server: s, stream: stream, ctx: stream.Context(), done: make(chan struct{}),
		bindings: bindings{s.plugin, map[uint32]*binding{}},
		out:      outbox{pool: framePool{s}, limit: min(frameBytes, s.opts.MaxMessage-frameOverhead), credit: uint32(s.opts.Credit)},
	}
	s.add(e)
	defer s.remove(e)
	e.mu.Lock()
	e.summon()
	e.mu.Unlock()
	<-e.done
	switch status.Code(e.err) {
	case codes.OK, codes.Canceled, codes.Unavailable: // hosts come and go
	default:
		s.opts.Logger.Warn("stream ended", "plugin", s.plugin.Name, "error", e.err)
	}
	return e.err
}

// summon makes one more worker free.
func (e *session) summon() {
	e.free++
	if n := len(e.idle); n > 0 {
		w := e.idle[n-1]
		e.idle[n-1] = nil
		e.idle = e.idle[:n-1]
		w.wake <- struct{}{}
		return
	}
	e.server.workers.Go(newWorker(e).loop)
}

// leave is called by a free worker about to do what may block.
func (e *session) leave() {
	if e.free--; e.free == 0 {
		e.summon()
	}
}

// loop does what there is to do until the stream has ended.
func (w *worker) loop() {
	e := w.session
	e.mu.Lock()
	defer e.mu.Unlock()
	for !e.ended {
		switch {
		case e.err != nil && !e.sending:
			e.end()
		case e.err == nil && e.queue.len() > 0:
			w.runNext()
		case e.err == nil && e.dirty() && !e.sending:
			e.send(lingers)
		case e.drained && e.calls == 0 && !e.sending:
			e.end()
		case !e.receiving && !e.closed:
			w.receive()
		case !w.park():
			return
		}
	}
}

// park waits to be summoned and returns false when the worker is not needed any more.
func (w *worker) park() bool {
	e := w.session
	e.free--
	if len(e.idle) >= maxIdle {
		return false
	}
	w.shrink()
	e.idle = append(e.idle, w)
	e.mu.Unlock()
	<-w.wake
	e.mu.Lock()
	return true
}

// fail makes the stream end with err as soon as nobody sends any more.
func (e *session) fail(err error) {
	e.closed, e.drained = true, true
	if e.err == nil {
		e.err = err
	}
}

// end ends the stream. What still runs finishes unheard; who still receives is woken by gRPC.
func (e *session) end() {
	e.ended = true
	e.queue.clear()
	for len(e.idle) > 0 {
		e.summon()
	}
	close(e.done)
}

// drain tells the host to send no more.
func (e *session) drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.draining {
		return
	}
	e.draining, e.out.drain = true, true
	e.summon()
}

// runNext runs the first call of the queue.
func (w *worker) runNext() {
	e := w.session
	j := e.queue.take()
	w.id, w.ctx = j.id, &callContext{parent: e.ctx, deadline: j.deadline}
	w.slot = len(e.running)
	e.running = append(e.running, w)
	e.leave()
	e.mu.Unlock()
	w.run(&j)
	j.frame.Free()
	e.mu.Lock()
	e.free++
	last := e.running[len(e.running)-1]
	e.running[w.slot], last.slot = last, w.slot
	e.running = e.running[:len(e.running)-1]
	e.calls--
	e.out.reply(w.reply, w.now)
	if e.queue.len() > 0 && !e.sending && w.now.Sub(e.out.since) > patience {
		e.send(0)
	}
}

// dirty reports whether there is something to tell the host.
func (e *session) dirty() bool { return e.out.dirty() || e.received > e.out.acked }

// send sends one frame with all there is. While other calls run and nothing else is to be done, it first lets them
// finish, for up to that many rounds of the scheduler.
func (e *session) send(linger int) {
	e.sending = true
	for ; linger > 0 && len(e.running) > 0; linger-- {
		e.mu.Unlock()
		runtime.Gosched()
		e.mu.Lock()
		if e.queue.len() > 0 { // more has come: that first
			e.sending = false
			return
		}
	}
	m := e.out.frame(e.received)
	e.leave()
	e.mu.Unlock()
	err := e.stream.SendMsg(&m)
	e.mu.Lock()
	e.free++
	e.sending = false
	if err != nil {
		e.fail(err)
	}
}

// receive waits for a frame and queues its calls.
func (w *worker) receive() {
	e := w.session
	e.receiving = true
	e.mu.Unlock()
	err := e.stream.RecvMsg(&w.msg)
	var f wire.HostFrame
	if err == nil {
		if f, err = w.open(); err != nil {
			err = status.Error(codes.InvalidArgument, err.Error())
		}
	}
	e.mu.Lock()
	e.receiving = false
	switch {
	case e.ended:
	case err == nil:
		w.take(f)
	case errors.Is(err, io.EOF): // answer what is there
		e.closed, e.drained = true, true
	default:
		e.fail(err)
	}
	clear(w.jobs)
	w.jobs = w.jobs[:0]
	w.msg.release()
}

// open reads a frame but for what is inside its calls, which it leaves in w.jobs.
func (w *worker) open() (wire.HostFrame, error) {
	e := w.session
	f, err := wire.ScanHostFrame(w.msg.data)
	if err != nil {
		return f, err
	}
	if err := e.bindings.take(f.Bindings()); err != nil {
		return f, err
	}
	now := time.Now()
	for raw := range f.Calls() {
		h, err := wire.ScanCall(raw)
		if h.ID == 0 {
			return f, fmt.Errorf("%w: call without id", cmp.Or(err, sdk.ErrProtocol))
		}
		j := job{id: h.ID, call: raw, arrived: now, err: err, frame: w.msg.buffer}
		if err == nil {
			j.binding, j.err = e.bindings.of(h.Binding)
		}
		if h.Timeout > 0 {
			j.deadline = now.Add(h.Timeout)
		}
		w.jobs = append(w.jobs, j)
	}
	if f.Batched && len(e.server.observers.all) > 0 {
		batch, err := f.Batch()
		if err != nil {
			return f, err
		}
		e.server.observers.offer(batch, f.Observers())
	}
	return f, nil
}

// take makes an open frame the session's own.
func (w *worker) take(f wire.HostFrame) {
	e := w.session
	e.received = max(e.received, f.Seq)
	for i := range w.jobs {
		j := &w.jobs[i]
		if e.calls >= e.server.opts.Credit {
			w.reply = wire.AppendFailure(w.reply[:0], j.id, fmt.Errorf("%w: more than %d calls outstanding on the stream",
				sdk.ErrOverloaded, e.server.opts.Credit))
			e.out.reply(w.reply, j.arrived)
			continue
		}
		j.frame.Ref()
		e.calls++
		e.queue.add(*j)
	}
	for id := range f.Cancels() {
		e.cancel(id)
	}
	e.drained = e.drained || f.Drain
}

// cancel ends the context of a call, wherever it is; one that has been answered is unknown, which is no mistake.
func (e *session) cancel(id uint64) {
	if e.queue.cancel(id) {
		return
	}
	for _, w := range e.running {
		if w.id == id {
			w.ctx.end()
			return
		}
	}
}
