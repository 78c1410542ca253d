package script

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Quarantine keeps a plugin from being called that has gone over its bounds again and again. After its hold, one call is
// let through on trial: if that keeps to the bounds the plugin is free again, else it is held for longer. It is safe for
// concurrent use.
type Quarantine struct {
	limits *Limits
	now    func() time.Time

	mu      sync.Mutex
	strikes []time.Time // within the window, oldest first
	hold    time.Duration
	until   time.Time // zero: free
	trial   bool
}

// NewQuarantine returns the quarantine of a plugin with these limits, which are complete; now is nil but in tests.
func NewQuarantine(l *Limits, now func() time.Time) *Quarantine {
	if now == nil {
		now = time.Now
	}
	return &Quarantine{limits: l, now: now}
}

// Enter asks for a call. Its error is [ErrQuarantined]. A call that was let in ends with Leave; trial is for that.
func (q *Quarantine) Enter() (trial bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.until.IsZero():
		return false, nil
	case q.trial || q.now().Before(q.until):
		return false, ErrQuarantined
	}
	q.trial = true
	return true, nil
}

// Leave says how a call ended: with an error that is an [Offence], or not. It reports whether the plugin went into
// quarantine by it, and for how long.
func (q *Quarantine) Leave(trial bool, err error) (held time.Duration) {
	offence := err != nil && Offence(err)
	if !trial && !offence {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	switch {
	case trial && (errors.Is(err, sdk.ErrOverloaded) || errors.Is(err, context.Canceled)):
		q.trial = false // it proved nothing
		return 0
	case trial && !offence:
		q.trial, q.until, q.hold, q.strikes = false, time.Time{}, 0, q.strikes[:0]
		return 0
	case trial:
		q.trial, q.hold = false, min(2*q.hold, q.limits.HoldMost)
	case !q.until.IsZero():
		return 0 // it was under way when the plugin was put here
	default:
		recent := q.strikes[:0]
		for _, s := range q.strikes {
			if now.Sub(s) < q.limits.Window {
				recent = append(recent, s)
			}
		}
		q.strikes = append(recent, now)
		if len(q.strikes) < q.limits.Strikes {
			return 0
		}
		q.hold = q.limits.Hold
	}
	q.until = now.Add(q.hold)
	return q.hold
}

// Held reports whether the plugin is in quarantine, on trial included.
func (q *Quarantine) Held() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.until.IsZero()
}
