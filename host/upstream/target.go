package upstream

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// A target is one address with its transport and its state. What every request reads is atomic and seldom written.
type target struct {
	outbound.Target
	transport transport

	failures atomic.Int32 // in a row
	until    atomic.Int64 // when the ejection ends, unix ns; 0: not ejected
	sick     atomic.Bool  // by its health checks

	mu    sync.Mutex // guards what follows
	times int        // ejections in a row
	last  error
	at    time.Time // of last
}

// Status is the state of a target at one moment.
type Status struct {
	Target       string
	Weight       int
	Up           bool      // requests are sent to it
	EjectedUntil time.Time // by failing requests; zero when it is not
	Unhealthy    bool      // by its health checks
	InFlight     int
	LastError    string // the latest failure, also when it is up again
	LastErrorAt  time.Time
}

// Targets returns the state of every target in the order of the options.
func (u *Upstream) Targets() []Status {
	all := make([]Status, len(u.targets))
	for i, t := range u.targets {
		now := int64(0)
		s := Status{
			Target: t.Name, Weight: cmp.Or(u.o.Targets[i].Weight, 1), Up: t.available(&now), Unhealthy: t.sick.Load(),
			InFlight: t.transport.InFlight(),
		}
		if until := t.until.Load(); until != 0 {
			s.EjectedUntil = time.Unix(0, until)
		}
		t.mu.Lock()
		if t.last != nil {
			s.LastError, s.LastErrorAt = t.last.Error(), t.at
		}
		t.mu.Unlock()
		all[i] = s
	}
	return all
}

// available reports whether requests may be sent to the target. now is the time in unix ns, read when it is 0 and
// needed.
func (t *target) available(now *int64) bool {
	if t.sick.Load() {
		return false
	}
	until := t.until.Load()
	if until == 0 {
		return true
	}
	if *now == 0 {
		*now = time.Now().UnixNano()
	}
	return *now >= until
}

// succeeded notes a reply. It writes nothing in the usual case.
func (u *Upstream) succeeded(t *target) {
	if t.failures.Load() == 0 && t.until.Load() == 0 {
		return
	}
	t.mu.Lock()
	t.failures.Store(0)
	t.times = 0
	back := t.until.Swap(0) != 0
	t.mu.Unlock()
	if back && !t.sick.Load() {
		u.notify(Event{Up: true, Target: t.Name})
	}
}

// failed notes a failed attempt, and ejects the target after enough of them in a row. One that comes back is ejected
// again by its first failure, for twice as long. The last available target is never ejected: there is nobody to take
// its place, so there is nothing to gain.
func (u *Upstream) failed(t *target, err error) {
	limit := u.o.Ejection.Failures
	t.mu.Lock()
	t.last, t.at = err, time.Now()
	n := int(t.failures.Add(1))
	now := t.at.UnixNano()
	if limit <= 0 || n < limit && t.times == 0 || t.until.Load() > now || !u.others(t) {
		t.mu.Unlock()
		return
	}
	out := min(u.o.Ejection.For<<min(t.times, 16), u.o.Ejection.MaxFor)
	t.times++
	t.until.Store(now + int64(out))
	t.mu.Unlock()
	u.notify(Event{Target: t.Name, Err: err})
}

// others reports whether another target than t is available.
func (u *Upstream) others(t *target) bool {
	now := int64(0)
	for _, o := range u.targets {
		if o != t && o.available(&now) {
			return true
		}
	}
	return false
}

func (u *Upstream) notify(e Event) {
	if u.o.Notify == nil {
		return
	}
	u.events.Lock()
	defer u.events.Unlock()
	u.o.Notify(e)
}
