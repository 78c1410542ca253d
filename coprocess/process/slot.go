package process

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
)

// slot is one instance: the place that one process after the other has.
type slot struct {
	s       *Server
	orders  chan order
	budget  *budget.Budget
	retired sync.WaitGroup // old processes on their way out
	next    time.Time      // no start before
	tried   chan struct{}  // closed when the first attempt to start a process is over

	mu  sync.Mutex
	st  InstanceStatus
	cur *running
}

// order asks for a new process.
type order struct{ done chan error }

func newSlot(s *Server, n int) *slot {
	return &slot{
		s: s, orders: make(chan order), tried: make(chan struct{}), budget: budget.New(s.o.Restart),
		st: InstanceStatus{Instance: n, State: StateStarting, Since: time.Now(), Crashes: map[Reason]uint64{}},
	}
}

func (u *slot) snapshot() (InstanceStatus, *running) {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.st
	st.Crashes = maps.Clone(st.Crashes)
	return st, u.cur
}

// change changes the status under its lock; a state is as old as its last change.
func (u *slot) change(f func(*InstanceStatus)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := u.st.State
	f(&u.st)
	if u.st.State != before {
		u.st.Since = time.Now()
	}
}

// run is the slot's life.
func (u *slot) run() {
	cur := u.bring()
	close(u.tried)
	for u.s.ctx.Err() == nil {
		if cur == nil {
			cur = u.bring()
		} else {
			cur = u.watch(cur)
		}
	}
	if cur != nil {
		u.use(nil)
		cur.end(0, u.s.o.StopTimeout)
	}
	u.retired.Wait()
	u.change(func(st *InstanceStatus) { st.State, st.NextStart, st.Replacing = StateStopped, nil, false })
}

// bring waits until it is time, and starts a process. It returns nil when that failed.
func (u *slot) bring() *running {
	t := time.NewTimer(time.Until(u.next))
	defer t.Stop()
	done := make(chan error, 1)
	select {
	case <-u.s.ctx.Done():
		return nil
	case <-t.C:
	case o := <-u.orders:
		u.budget.Forgive()
		done = o.done
	}
	u.change(func(st *InstanceStatus) { st.State, st.NextStart = StateStarting, nil })
	r, err := u.s.launch(u.s.ctx)
	done <- err
	if err == nil {
		u.adopt(r, true)
		return r
	}
	if u.s.ctx.Err() == nil {
		u.crashed(crashOf(err), 0)
	}
	return nil
}

// crashOf is the record of a process that did not get ready.
func crashOf(err error) *Crash {
	var f *failure
	if !errors.As(err, &f) {
		return &Crash{Time: time.Now(), Reason: ReasonStart, Error: err.Error(), ExitCode: -1}
	}
	if f.crash == nil {
		return &Crash{Time: time.Now(), Reason: f.reason, Error: f.err.Error(), ExitCode: -1, cause: f.err}
	}
	return f.crash
}

// use makes r the process that status speaks of.
func (u *slot) use(r *running) {
	u.mu.Lock()
	u.cur = r
	u.mu.Unlock()
}

// adopt makes a process that is ready the slot's.
func (u *slot) adopt(r *running, restart bool) {
	u.use(r)
	u.change(func(st *InstanceStatus) {
		if restart && st.Starts > 0 {
			st.Restarts++
		}
		st.State, st.Replacing = StateReady, false
		st.Starts++
	})
	u.s.o.Log.Info("plugin server is ready", "instance", u.st.Instance, "pid", r.proc.PID(), "took", r.ready.Sub(r.begun))
}

// crashed counts a crash and says when to start again.
func (u *slot) crashed(c *Crash, up time.Duration) (held bool) {
	wait, held := u.budget.Crashed(time.Now(), up)
	u.next = time.Now().Add(wait)
	next := u.next
	u.change(func(st *InstanceStatus) {
		st.State = StateBackoff
		if held {
			st.State = StateQuarantined
		}
		st.Crashes[c.Reason]++
		st.LastCrash, st.NextStart, st.Replacing = c, &next, false
	})
	state := "is started again"
	if held {
		state = "is in quarantine"
	}
	u.s.rpc.Excuse(fmt.Errorf("%s (%s), and %s in %v", c.Error, c.Reason, state, wait.Round(time.Millisecond)))
	u.s.o.Log.Warn("plugin server "+state, "instance", u.st.Instance, "pid", c.PID, "reason", string(c.Reason), "error", c.Error,
		"in", wait, "last_lines", c.Lines)
	return held
}

// watch waits for what happens to the process, and returns the one that is there afterwards.
func (u *slot) watch(cur *running) *running {
	stable := time.NewTimer(u.budget.Stable() - time.Since(cur.ready))
	defer stable.Stop()
	for {
		select {
		case <-u.s.ctx.Done():
			return cur
		case <-stable.C:
			u.budget.Forgive()
		case <-cur.proc.Exited():
			u.use(nil)
			cur.settle()
			u.crashed(cur.crash(), time.Since(cur.ready))
			u.retire(cur, 0)
			return nil
		case <-cur.sick:
			return u.heal(cur)
		case o := <-u.orders:
			u.budget.Forgive()
			next, err := u.succeed()
			o.done <- err
			if err != nil {
				return cur
			}
			u.adopt(next, false)
			u.retire(cur, u.s.drain())
			return next
		}
	}
}

// sickDrain is how long the calls of an unhealthy process get: it may be slow, but hardly answers.
const sickDrain = 2 * time.Second

// heal replaces an unhealthy process.
func (u *slot) heal(sick *running) *running {
	up := time.Since(sick.ready)
	c := sick.record(ReasonUnhealthy, sick.why)
	if u.crashed(c, up) { // one of its kind too many
		u.use(nil)
		u.retire(sick, sickDrain)
		return nil
	}
	u.change(func(st *InstanceStatus) { st.State, st.NextStart = StateReady, nil }) // as far as it is
	u.next = time.Time{}
	next, err := u.succeed()
	u.retire(sick, sickDrain)
	if err != nil {
		u.use(nil)
		if u.s.ctx.Err() == nil {
			u.crashed(crashOf(err), 0)
		}
		return nil
	}
	u.adopt(next, true)
	return next
}

// succeed starts a successor while the present process goes on.
func (u *slot) succeed() (*running, error) {
	u.change(func(st *InstanceStatus) { st.Replacing = true })
	next, err := u.s.launch(u.s.ctx)
	u.change(func(st *InstanceStatus) {
		st.Replacing = false
		if err != nil {
			st.LastCrash = crashOf(err)
		}
	})
	return next, err
}

// retire ends a process that is no longer the slot's.
func (u *slot) retire(old *running, drain time.Duration) {
	u.retired.Go(func() { old.end(drain, u.s.o.StopTimeout) })
}

// drain is how long the calls of a process that leaves may take.
func (s *Server) drain() time.Duration {
	const byDefault = 30 * time.Second // rpc's
	if d := s.o.RPC.DrainTimeout; d > 0 {
		return d
	}
	return byDefault
}
