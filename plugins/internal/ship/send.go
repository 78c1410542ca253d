package ship

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// run sends until Close, and then until the queue is empty, an attempt fails or the grace is over.
func (s *Shipper) run(ctx context.Context) {
	defer close(s.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-s.closing:
		case <-ctx.Done():
			return
		}
		grace := time.NewTimer(s.o.Grace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.send(ctx)
	cancel()
	<-watching
}

// reportEvery is how often it is said that the other side is down still.
const reportEvery = time.Minute

// sender is what the goroutine that sends knows.
type sender struct {
	*Shipper
	limit    int           // of items in a batch, lower while the other side takes fewer
	delay    time.Duration // before the next attempt
	reported time.Time     // when the log was last told that the other side is down
}

func (s *Shipper) send(ctx context.Context) {
	w := &sender{Shipper: s, limit: s.count}
	for {
		items, ok := s.wait()
		if !ok || ctx.Err() != nil {
			return
		}
		if len(items) > w.limit {
			items = items[:w.limit]
		}
		n, err := w.attempt(ctx, items)
		if n > 0 {
			s.arrived(items[n-1].Seq, &s.counts.delivered)
		}
		if err == nil {
			w.succeeded()
			continue
		}
		if !w.failed(ctx, items[n:], err) {
			return
		}
	}
}

func (w *sender) attempt(ctx context.Context, items []Item) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.o.Settings.Retry.Timeout))
	defer cancel()
	w.add(&w.counts.attempts, 1)
	n, err := w.o.Sink.Send(ctx, items)
	if err == nil {
		n = len(items)
	}
	return n, err
}

func (w *sender) succeeded() {
	w.limit = min(w.limit*2, w.count)
	w.delay = 0
	w.mu.Lock()
	was := w.down
	w.down = false
	w.mu.Unlock()
	if was {
		w.log.Info("the other side takes records and events again")
	}
	w.reported = time.Time{}
}

// failed does what the error asks for with the items that have not arrived. It returns false when there is no more to do.
func (w *sender) failed(ctx context.Context, left []Item, err error) bool {
	r := refusalOf(err)
	if r != nil && r.kind == tooLarge {
		if len(left) > 1 {
			w.limit = max(len(left)/2, 1)
			return true
		}
		r = &refusal{kind: rejected, err: err}
	}
	if r != nil && r.kind == rejected {
		w.reject(left, r)
		return true
	}
	w.add(&w.counts.retries, 1)
	if errors.Is(err, context.DeadlineExceeded) {
		w.limit = max(len(left)/2, 1) // the other side may be too slow for so many
	}
	w.mu.Lock()
	w.down = true
	w.spill()
	closed := w.closed
	w.mu.Unlock()
	if w.reported.IsZero() || time.Since(w.reported) >= reportEvery {
		w.reported = time.Now()
		w.log.Warn("the other side does not take records and events: they wait", "error", err.Error())
	}
	if closed || ctx.Err() != nil {
		return false
	}
	return w.rest(ctx, r)
}

// reject gives up items that the other side will not take.
func (w *sender) reject(left []Item, r *refusal) {
	if r.count > 0 && r.count < len(left) {
		left = left[:r.count]
	}
	if len(left) == 0 {
		return
	}
	w.log.Warn("the other side refuses records and events: they are dropped", "items", len(left), "error", r.err.Error())
	if w.o.Rejected != nil {
		w.o.Rejected(left, r.err)
	}
	w.arrived(left[len(left)-1].Seq, &w.counts.rejected)
}

// rest waits before the next attempt. On Close there is one more, at once.
func (w *sender) rest(ctx context.Context, r *refusal) bool {
	first, most := time.Duration(w.o.Settings.Retry.First), time.Duration(w.o.Settings.Retry.Max)
	w.delay = min(max(2*w.delay, first), most)
	delay := w.delay/2 + rand.N(w.delay/2+1)
	if r != nil && r.kind == later && r.after > 0 {
		const patience = 10 // times max: nobody waits for ever because the other side says so
		delay = min(r.after, patience*most) + rand.N(w.delay/2+1)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.closing:
	case <-ctx.Done():
		return false
	}
	return true
}

// counts are what a shipper has done. They only grow.
type counts struct {
	accepted, delivered, dropped, rejected, corrupt, attempts, retries uint64
}

func (s *Shipper) add(counter *uint64, n int) {
	s.mu.Lock()
	*counter += uint64(n)
	s.mu.Unlock()
}

// Stats returns what the shipper has done and what waits in it, as [sdk.Plugin] wants it.
func (s *Shipper) Stats() []sdk.Stat {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	var stats []sdk.Stat
	for _, t := range []struct {
		name  string
		count uint64
	}{
		{"accepted", c.accepted}, {"delivered", c.delivered}, {"dropped", c.dropped}, {"rejected", c.rejected},
		{"corrupt_segments", c.corrupt}, {"attempts", c.attempts}, {"retries", c.retries},
	} {
		stats = append(stats, sdk.Stat{Name: t.name, Value: float64(t.count), Total: true})
	}
	up := 1.0
	if s.down {
		up = 0
	}
	stats = append(stats, sdk.Stat{Name: "up", Value: up},
		sdk.Stat{Name: "queued", Value: float64(len(s.memory))}, sdk.Stat{Name: "queued_bytes", Value: float64(s.bytes)})
	if s.disk != nil {
		stats = append(stats, sdk.Stat{Name: "spooled", Value: float64(s.disk.Len())}, sdk.Stat{Name: "spooled_bytes", Value: float64(s.disk.Bytes())})
	}
	return stats
}
