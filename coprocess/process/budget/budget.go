// Package budget decides when a plugin server that ended is started again.
package budget

import (
	"math/rand/v2"
	"time"
)

// Policy says how patient to be. All have defaults.
type Policy struct {
	First  time.Duration // wait after the second crash in a row; it doubles with each. Default 200 ms
	Most   time.Duration // longest wait; default 30 s
	Stable time.Duration // what runs for this long begins anew; default 60 s

	Crashes int           // as many within Window put it into quarantine; default 5
	Window  time.Duration // default 60 s
	Hold    time.Duration // until the first trial; it doubles with each that fails. Default 60 s
	Longest time.Duration // hold; default 10 min
}

// WithDefaults fills in what is not set.
func (p Policy) WithDefaults() Policy {
	set := func(v *time.Duration, to time.Duration) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&p.First, 200*time.Millisecond)
	set(&p.Most, 30*time.Second)
	set(&p.Stable, time.Minute)
	set(&p.Window, time.Minute)
	set(&p.Hold, time.Minute)
	set(&p.Longest, 10*time.Minute)
	if p.Crashes <= 0 {
		p.Crashes = 5
	}
	return p
}

// Budget is that of one instance. It is for one goroutine. Make it with New.
type Budget struct {
	p       Policy
	random  func(time.Duration) time.Duration // up to
	row     int                               // crashes since the last time it was stable
	crashes []time.Time                       // within the window, oldest first
	hold    time.Duration                     // the last; 0: not in quarantine
}

// New returns a full budget.
func New(p Policy) *Budget {
	return &Budget{p: p.WithDefaults(), random: func(d time.Duration) time.Duration { return rand.N(d) + 1 }}
}

// Crashed says how long to wait after a crash at now of what had run for up, and whether that is quarantine: then what is
// started next is on trial. After a first crash there is no wait, so that one crash costs little; after others it is a
// random part of what has doubled, so that several do not start as one.
func (b *Budget) Crashed(now time.Time, up time.Duration) (wait time.Duration, quarantined bool) {
	if up >= b.p.Stable {
		b.Forgive()
	}
	b.row++
	if b.hold > 0 {
		b.hold = min(2*b.hold, b.p.Longest)
		return b.hold, true
	}
	recent := b.crashes[:0]
	for _, c := range b.crashes {
		if now.Sub(c) < b.p.Window {
			recent = append(recent, c)
		}
	}
	b.crashes = append(recent, now)
	if len(b.crashes) >= b.p.Crashes {
		b.hold = b.p.Hold
		return b.hold, true
	}
	if b.row == 1 {
		return 0, false
	}
	most := min(b.p.First, b.p.Most)
	for range b.row - 2 {
		if most >= b.p.Most/2 { // nor is it doubled beyond what a number holds
			most = b.p.Most
			break
		}
		most *= 2
	}
	return b.random(most), false
}

// Forgive forgets all crashes: it has run for Stable, or somebody who knows better wants it started.
func (b *Budget) Forgive() { b.row, b.crashes, b.hold = 0, b.crashes[:0], 0 }

// Stable is how long an instance has to run until it is forgiven.
func (b *Budget) Stable() time.Duration { return b.p.Stable }
