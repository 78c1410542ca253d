// Package local judges requests in the memory of one gateway. Rates are forgotten with the process; quotas are on its disk
// within a second, and when Close returns, so that a restart goes on counting: a process that is killed loses the
// counts of its last second, and nothing of a Reset or Forget that has returned.
package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

const (
	sweepEvery = 100 * time.Millisecond // a 16th of all buckets each time
	quotaTurn  = 5                      // sweeps, of which one looks at quotas, too: these leave by age
	flushEvery = 500 * time.Millisecond // leaves as much for the disk, to be within a second
	flushLimit = 10 * time.Second       // how long one flush may take before it is tried again
	// Requests under at most so many rates, or quotas, are judged without allocating.
	usual = 8
)

// Records is where quotas are kept. A counts.File is one, and entries of a store are by [In]. What returns nil is kept.
type Records interface {
	// Get returns the zero Count when there is none.
	Get(ctx context.Context, of counts.Name) (counts.Count, error)
	// Save makes changes; of those that used nothing, no count is left. Making them again does no harm.
	Save(ctx context.Context, changes ...counts.Change) error
	// Forget removes all counts of an owner.
	Forget(ctx context.Context, owner string) error
}

// Options of a limiter. The zero value is useful.
type Options struct {
	// Now is the clock, time.Now by default. Rates go by its monotonic reading, quotas, which outlive the process, by the
	// wall clock.
	Now func() time.Time
	// Failed is told, from the limiter's goroutine, why quotas could not be written; nil tells nobody. They are kept
	// and tried again.
	Failed func(error)
}

// Limiter is a limit.Limiter in memory. Close it.
type Limiter struct {
	options Options
	began   time.Time
	rates   *memory.Table[cell]
	quotas  *quotas
	sweeps  int

	closed atomic.Bool
	stop   context.CancelFunc
	work   sync.WaitGroup
}

var _ limit.Limiter = (*Limiter)(nil)

// cell is a rate's bucket; the rate is final, a changed one gets a new cell.
type cell struct {
	memory.Cell
	rate limit.Rate
}

// Open returns a limiter that keeps quotas in records; nil keeps them in memory alone. Of the context only the values
// are kept; it works until Close.
func Open(ctx context.Context, records Records, options Options) *Limiter {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Failed == nil {
		options.Failed = func(error) {}
	}
	l := &Limiter{options: options, began: options.Now(), rates: memory.NewTable[cell](), quotas: newQuotas(records)}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.work.Go(func() { l.run(ctx) })
	return l
}

// Close writes what is left to write, and waits for that as long as the context lasts. Later calls fail.
func (l *Limiter) Close(ctx context.Context) error {
	if l.closed.Swap(true) {
		return nil
	}
	l.stop()
	l.work.Wait()
	return l.quotas.flush(ctx)
}

func (l *Limiter) run(ctx context.Context) {
	sweep, flush := time.NewTicker(sweepEvery), time.NewTicker(flushEvery)
	defer sweep.Stop()
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			l.sweep()
		case <-flush.C:
			within, cancel := context.WithTimeout(ctx, flushLimit)
			if err := l.quotas.flush(within); err != nil && ctx.Err() == nil {
				l.options.Failed(err)
			}
			cancel()
		}
	}
}

func (l *Limiter) sweep() {
	now := l.options.Now()
	mono := l.mono(now)
	l.rates.Sweep(func(_ limit.Key, c *cell) bool { return c.SealIdle(mono) })
	if l.sweeps++; l.sweeps%quotaTurn == 0 {
		l.quotas.sweep(now.UnixNano())
	}
}

func (l *Limiter) mono(now time.Time) int64 { return int64(now.Sub(l.began)) }

// Take is limit.Limiter's.
func (l *Limiter) Take(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, true)
}

// Peek is limit.Limiter's.
func (l *Limiter) Peek(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, false)
}

// judge looks at every bucket first, and takes only when none refuses. Others may take in between; then what was taken
// is given back.
func (l *Limiter) judge(ctx context.Context, a *limit.Ask, v *limit.Verdict, take bool) error {
	if l.closed.Load() {
		return limit.Unavailable("local limiter", errors.New("it is closed"))
	}
	v.Begin(a)
	now := l.options.Now()
	mono, wall := l.mono(now), now.UnixNano()
	var fewCells [usual]*cell
	var fewCounters [usual]*counter
	cells, counters := fewCells[:0], fewCounters[:0]
	for i := range a.Rates {
		cells = append(cells, l.lookRate(i, a, v, mono, wall, take))
	}
	for i := range a.Quotas {
		c, err := l.quotas.look(ctx, i, a, v, wall)
		if err != nil {
			return err
		}
		counters = append(counters, c)
	}
	if !v.Passed() && take {
		for i, c := range cells {
			if c != nil && v.Rates[i].Limit == 0 { // would have been told by the take
				l.lookRate(i, a, v, mono, wall, false)
			}
		}
	}
	if !take || !v.Passed() {
		return nil
	}
	l.take(a, v, mono, wall, cells, counters)
	return nil
}

// lookRate tells of a rate, and returns its cell, nil when there is none yet that takes could use. Of one that lets pass who
// is about to take, it tells nothing.
func (l *Limiter) lookRate(i int, a *limit.Ask, v *limit.Verdict, mono, wall int64, take bool) *cell {
	b := &a.Rates[i]
	if b.Rate.None() {
		return nil
	}
	c := l.rates.Get(l.rates.Hash(b.Key), b.Key)
	if c != nil && c.rate == b.Rate {
		if take && c.Allows(mono) == memory.Passed {
			return c
		}
		if level, out := c.Look(mono); out != memory.Gone {
			tell(v, i, b.Rate, level, out, wall)
			return c
		}
	}
	var fresh memory.Cell // what take would put there
	used := 0.0
	if c != nil {
		used = c.Used(mono)
	}
	fresh.SetRate(b.Rate, mono, used)
	level, out := fresh.Look(mono)
	tell(v, i, b.Rate, level, out, wall)
	return nil
}

func tell(v *limit.Verdict, i int, r limit.Rate, level memory.Level, out memory.Outcome, wall int64) {
	v.Rates[i] = limit.State{Limit: int64(min(r.Burst(), 1<<62)), Remaining: level.Remaining, Reset: later(wall, level.Full)}
	if out == memory.Refused {
		v.Refuse(limit.ByRate, i, level.Wait)
	}
}

// later is a time after wall, at the latest the last that fits.
func later(wall int64, d time.Duration) time.Time {
	if sum := wall + int64(d); sum >= wall {
		return time.Unix(0, sum)
	}
	return time.Unix(0, 1<<63-1)
}

// take takes one request everywhere, or nowhere.
func (l *Limiter) take(a *limit.Ask, v *limit.Verdict, mono, wall int64, cells []*cell, counters []*counter) {
	var few [usual]taken
	all := few[:0]
	for i := range a.Rates {
		if a.Rates[i].Rate.None() {
			continue
		}
		c, level, out := l.takeRate(cells[i], &a.Rates[i], mono)
		tell(v, i, a.Rates[i].Rate, level, out, wall)
		if out == memory.Refused {
			l.giveBack(all)
			return
		}
		all = append(all, taken{c, level})
	}
	for i, c := range counters {
		if c == nil {
			continue
		}
		c, ok := l.quotas.take(c, i, a, v, wall)
		if !ok {
			l.giveBack(all)
			for j := range i {
				l.quotas.giveBack(a.Quotas[j].Key, counters[j])
			}
			return
		}
		counters[i] = c
	}
}

type taken struct {
	cell  *cell
	level memory.Level
}

func (l *Limiter) giveBack(all []taken) {
	mono := l.mono(l.options.Now())
	for _, t := range all {
		t.cell.GiveBack(mono, t.level)
	}
}

// takeRate takes from a rate's cell, which is a guess, or from the one that has its place now.
func (l *Limiter) takeRate(guess *cell, b *limit.RateBucket, mono int64) (*cell, memory.Level, memory.Outcome) {
	if guess != nil {
		if level, out := guess.Take(mono); out != memory.Gone {
			return guess, level, out
		}
	}
	h := l.rates.Hash(b.Key)
	for {
		c := l.rates.Get(h, b.Key)
		if c == nil || c.rate != b.Rate {
			c = l.renew(h, b, c, mono)
		}
		if level, out := c.Take(mono); out != memory.Gone {
			return c, level, out
		}
		l.renew(h, b, c, mono)
	}
}

// renew puts a cell of the asked rate in place of old, with as much used.
func (l *Limiter) renew(h memory.Hash, b *limit.RateBucket, old *cell, mono int64) *cell {
	return l.rates.Put(h, b.Key, old, func(c *cell) {
		used := 0.0
		if old != nil {
			used = old.Seal(mono)
		}
		c.rate = b.Rate
		c.SetRate(b.Rate, mono, used)
	})
}

// Reset is limit.Limiter's.
func (l *Limiter) Reset(ctx context.Context, quotas ...limit.Key) error {
	return l.quotas.reset(ctx, quotas)
}

// Forget is limit.Limiter's.
func (l *Limiter) Forget(ctx context.Context, owner string) error {
	mono := l.mono(l.options.Now())
	l.rates.DropOwner(owner, func(_ limit.Key, c *cell) bool {
		c.Seal(mono)
		return true
	})
	return l.quotas.forget(ctx, owner)
}

// unavailable is err as the limiter's, and a context's as it is.
func unavailable(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("limits: %s: %w", what, err)
	}
	return limit.Unavailable(what, err)
}
