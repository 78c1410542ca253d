package distributed

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

// usual is how many rates, or quotas, a request can be under without allocating.
const usual = 8

// list is so many pointers, on the stack unless they are unusually many.
type list[T any] struct {
	few  [usual]*T
	more []*T
}

func (l *list[T]) at(i int) *T {
	if i < usual {
		return l.few[i]
	}
	return l.more[i-usual]
}

func (l *list[T]) set(i int, v *T) {
	if i < usual {
		l.few[i] = v
		return
	}
	for len(l.more) <= i-usual {
		l.more = append(l.more, nil)
	}
	l.more[i-usual] = v
}

// question is one request while it is judged.
type question struct {
	ask        *limit.Ask
	verdict    *limit.Verdict
	take       bool
	mono, wall int64
	buckets    list[bucket] // nil where Redis judges, or nothing
	tallies    list[tally]  // nil where nothing is counted
	windows    list[window] // nil where Redis judges
	exact      bool         // Redis judges something
	exactRate  bool
}

func (l *Limiter) judge(ctx context.Context, a *limit.Ask, v *limit.Verdict, take bool) error {
	if l.closed.Load() {
		return limit.Unavailable("distributed limiter", errors.New("it is closed"))
	}
	now := l.options.Now()
	q := question{ask: a, verdict: v, take: take, mono: l.mono(now), wall: now.UnixNano()}
	v.Begin(a)
	l.look(&q)
	if v.Passed() && q.exact {
		err := l.askRedis(ctx, &q)
		if errors.Is(err, limit.ErrStore) {
			l.fallBack(&q)
		} else if err != nil {
			return err
		}
	}
	if take {
		l.settle(&q)
	}
	return nil
}

// small reports whether a rate cannot be divided.
func (l *Limiter) small(r limit.Rate) bool {
	return !l.members.away.Load() && r.Burst() < divisible*float64(l.members.count.Load())
}

// look asks memory about all that memory can judge.
func (l *Limiter) look(q *question) {
	for i := range q.ask.Rates {
		b := &q.ask.Rates[i]
		switch {
		case b.Rate.None():
			q.buckets.set(i, nil)
		case l.small(b.Rate):
			q.exact, q.exactRate = true, true
			q.buckets.set(i, nil)
			q.verdict.Rates[i].Limit = whole(b.Rate.Burst())
		default:
			q.buckets.set(i, l.lookRate(q, i))
		}
	}
	for i := range q.ask.Quotas {
		b := &q.ask.Quotas[i]
		if b.Max <= 0 {
			q.tallies.set(i, nil)
			q.windows.set(i, nil)
			continue
		}
		t := l.quotas.get(b, q.mono)
		w, answer := l.quotas.look(t, b, q.mono)
		w.tell(q.verdict, i, b, q.mono, q.wall)
		q.tallies.set(i, t)
		if answer == exhausted && !q.exactRate { // a rate would have to be asked first
			q.verdict.Refuse(limit.ByQuota, i, w.wait(q.mono))
		}
		if answer == fromMemory && (q.take || l.members.away.Load()) {
			q.windows.set(i, w)
			continue
		}
		q.windows.set(i, nil)
		q.exact = true
	}
}

func (l *Limiter) lookRate(q *question, i int) *bucket {
	b := &q.ask.Rates[i]
	found, level, out := l.rates.look(b, q.mono)
	q.tell(i, level, out)
	return found
}

func (q *question) tell(i int, level memory.Level, out memory.Outcome) {
	q.verdict.Rates[i] = limit.State{
		Limit: whole(q.ask.Rates[i].Rate.Burst()), Remaining: level.Remaining, Reset: later(q.wall, level.Full),
	}
	if out == memory.Refused {
		q.verdict.Refuse(limit.ByRate, i, level.Wait)
	}
}

// askRedis has Redis judge the rest. It takes there only what memory would let pass.
func (l *Limiter) askRedis(ctx context.Context, q *question) error {
	var rest limit.Ask
	var rates, quotas []int
	for i, b := range q.ask.Rates {
		if q.buckets.at(i) == nil && !b.Rate.None() {
			rest.Rates, rates = append(rest.Rates, b), append(rates, i)
		}
	}
	for i, b := range q.ask.Quotas {
		if t := q.tallies.at(i); t != nil && q.windows.at(i) == nil {
			b.Max = max(1, b.Max-t.window.Load().pending.Load()) // what is not yet in Redis
			rest.Quotas, quotas = append(rest.Quotas, b), append(quotas, i)
		}
	}
	var v limit.Verdict
	ask := l.exact.Take
	if !q.take {
		ask = l.exact.Peek
	}
	if err := ask(ctx, &rest, &v); err != nil {
		return err
	}
	for i, s := range v.Rates {
		q.verdict.Rates[rates[i]] = s
	}
	for i, s := range v.Quotas {
		t, b := q.tallies.at(quotas[i]), &q.ask.Quotas[quotas[i]]
		left := time.Duration(0)
		if !s.Reset.IsZero() {
			left = time.Duration(s.Reset.UnixNano() - q.wall)
		}
		l.quotas.learn(t, s.Limit-s.Remaining, left, q.mono)
		s.Limit = b.Max
		q.verdict.Quotas[quotas[i]] = s
	}
	switch v.Refused {
	case limit.ByRate:
		q.verdict.Refuse(limit.ByRate, rates[v.Index], v.RetryAfter)
	case limit.ByQuota:
		q.verdict.Refuse(limit.ByQuota, quotas[v.Index], v.RetryAfter)
	}
	return nil
}

// fallBack has memory judge what Redis should have.
func (l *Limiter) fallBack(q *question) {
	for i, b := range q.ask.Rates {
		if q.buckets.at(i) == nil && !b.Rate.None() {
			q.buckets.set(i, l.lookRate(q, i))
		}
	}
	for i := range q.ask.Quotas {
		t, b := q.tallies.at(i), &q.ask.Quotas[i]
		if t == nil || q.windows.at(i) != nil {
			continue
		}
		w, answer := l.quotas.alone(t, t.window.Load(), b, q.mono, int64(l.members.count.Load()))
		w.tell(q.verdict, i, b, q.mono, q.wall)
		if answer == exhausted {
			q.verdict.Refuse(limit.ByQuota, i, w.wait(q.mono))
		}
		q.windows.set(i, w)
	}
}

// settle takes from memory when nothing refused, and otherwise notes who did.
func (l *Limiter) settle(q *question) {
	if q.verdict.Passed() && l.takeRates(q) {
		for i := range q.ask.Rates {
			if b := q.buckets.at(i); b != nil {
				b.passed.Add(1)
			}
		}
		for i := range q.ask.Quotas {
			if w := q.windows.at(i); w != nil {
				w.pending.Add(1)
				w.tell(q.verdict, i, &q.ask.Quotas[i], q.mono, q.wall)
			}
		}
		return
	}
	if q.verdict.Refused == limit.ByRate {
		if b := q.buckets.at(q.verdict.Index); b != nil {
			b.denied.Add(1)
		}
	}
}

// takeRates takes from all buckets, or from none. What Redis has already let pass is taken in any case: others may have come
// in between, and it is one request too many in a bucket that regains it.
func (l *Limiter) takeRates(q *question) bool {
	var few [usual]memory.Level
	levels := few[:0]
	for i := range q.ask.Rates {
		if q.buckets.at(i) == nil {
			levels = append(levels, memory.Level{})
			continue
		}
		found, level, out := l.rates.take(&q.ask.Rates[i], q.mono)
		q.buckets.set(i, found)
		if out == memory.Refused && q.exact {
			found.cell.Load().Charge(q.mono, 1)
			out = memory.Passed
		}
		q.tell(i, level, out)
		if out == memory.Refused {
			now := l.mono(l.options.Now())
			for j := range i {
				if q.buckets.at(j) != nil {
					q.buckets.at(j).cell.Load().GiveBack(now, levels[j])
				}
			}
			return false
		}
		levels = append(levels, level)
	}
	return true
}

func whole(f float64) int64 { return int64(min(f, 1<<62)) }

// later is a time after wall, at the latest the last that fits.
func later(wall int64, d time.Duration) time.Time {
	if sum := wall + int64(d); sum >= wall {
		return time.Unix(0, sum)
	}
	return time.Unix(0, math.MaxInt64)
}
