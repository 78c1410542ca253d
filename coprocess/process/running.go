package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/control"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
)

// awaitHealth asks until the server is healthy.
func (r *running) awaitHealth(ctx context.Context) error {
	wait := lookFirst
	for {
		err := r.control.Check(ctx)
		if err == nil {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-t.C:
		}
		wait = min(2*wait, lookMost)
	}
}

// watchHealth asks the server for its health until it does not answer any more, or cannot be called: what it says of its health
// is of no use then. One that says it is not serving does answer: it gets no calls until it takes that back.
func (r *running) watchHealth() {
	o := &r.s.o
	t := time.NewTimer(spread(o.HealthEvery))
	defer t.Stop()
	for misses := 0; ; {
		select {
		case <-r.ctx.Done():
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(r.ctx, o.HealthTimeout)
		err := r.control.Check(ctx)
		cancel()
		if err == nil || errors.Is(err, control.ErrNotServing) {
			err = r.unreachable()
		}
		switch {
		case r.ctx.Err() != nil:
			return
		case err == nil:
			misses = 0
			t.Reset(spread(o.HealthEvery))
			continue
		}
		if misses++; misses >= o.HealthMisses {
			r.why = fmt.Errorf("%d times in a row: %w", misses, err)
			close(r.sick)
			return
		}
		t.Reset(min(o.HealthTimeout, o.HealthEvery))
	}
}

// unreachable says why it cannot be called though it could be once; nil while it can, or says itself that it is not serving.
func (r *running) unreachable() error {
	for _, i := range r.s.rpc.Status() {
		if i.Address == r.name && i.State == rpc.StateDown {
			return fmt.Errorf("it cannot be called: %s", i.Error)
		}
	}
	return nil
}

// spread keeps instances that started together from being asked together.
func spread(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// settleWait is how long the last words of a process that has ended may take to arrive.
const settleWait = 200 * time.Millisecond

// settle waits for what the process wrote before it ended.
func (r *running) settle() {
	read := make(chan struct{})
	r.owned.Go(func() {
		r.readers.Wait()
		close(read)
	})
	t := time.NewTimer(settleWait)
	defer t.Stop()
	select {
	case <-read:
	case <-t.C:
	}
}

// shutdownWait bounds a server's orderly end before it gets a signal.
const shutdownWait = 2 * time.Second

// end takes the process out of rotation, lets its calls end for as long as drain, has it end within grace, and waits
// until nothing of it is left: that is bounded by both and a few seconds.
func (r *running) end(drain, grace time.Duration) {
	left := r.s.rpc.Leave(r.name)
	if drain > 0 {
		t := time.NewTimer(drain)
		select {
		case <-left:
		case <-r.ctx.Done(): // it has ended, or is to end now
		case <-t.C:
		}
		t.Stop()
	}
	if grace > 0 && r.target.Handshake && r.ctx.Err() == nil {
		grace -= r.shutdown(min(grace, shutdownWait))
	}
	r.proc.End(max(grace, 0))
	r.cancel()
	if r.control != nil {
		r.control.Close()
	}
	r.settle()
	_ = r.closePipes() // ends readers, should something have escaped with the other end
	r.readers.Wait()
	r.owned.Wait()
	<-left
}

// shutdown asks the server to end by itself. It returns how long that took.
func (r *running) shutdown(most time.Duration) time.Duration {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(r.ctx, most)
	defer cancel()
	if r.control.Shutdown(ctx) == nil {
		select {
		case <-r.proc.Exited():
		case <-ctx.Done():
		}
	}
	return time.Since(begun)
}

// crash is the record of a process that ended by itself.
func (r *running) crash() *Crash {
	e := r.proc.Exit()
	what := fmt.Sprintf("exited with status %d", e.Code)
	reason := ReasonExited
	if e.Signal != "" {
		what = "was ended by " + e.Signal
	}
	switch {
	case e.Lost:
		what = "ended because its keeper was killed"
	case e.Breach != "":
		what, reason = "was ended over its limit: "+e.Breach, ReasonLimit
	}
	c := r.record(reason, errors.New("process "+what))
	c.ExitCode, c.Signal, c.MaxRSS, c.CPU = e.Code, e.Signal, e.MaxRSS, e.CPU
	return c
}

// record notes why the process is no longer used.
func (r *running) record(reason Reason, err error) *Crash {
	now := time.Now()
	return &Crash{
		Time: now, Reason: reason, Error: err.Error(), PID: r.proc.PID(),
		Uptime: now.Sub(r.begun), Lines: r.out.Tail(), ExitCode: -1,
	}
}
