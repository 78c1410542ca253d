package h1

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	tick     = 25 * time.Millisecond  // how late a deadline or a client's leaving may be noticed
	slowTick = 100 * time.Millisecond // the same when every request in flight is older than that
	resting  = 20                     // ticks without a new request after which the sweeper slows down
)

// A sweeper is the one goroutine of a transport. While requests are in flight it looks at every connection once a tick
// and cuts those that are overdue, so that a request needs no timer and no watch on its context. With nothing but long
// streams it looks less often, without any it sleeps; a new request wakes it.
type sweeper struct {
	epoch  time.Time
	asleep atomic.Bool
	wake   chan struct{}
	quit   chan struct{}
	once   sync.Once
	done   chan struct{}
}

func (s *sweeper) start(t *Transport) {
	s.epoch = time.Now()
	s.wake, s.quit, s.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.done)
		s.run(t)
	}()
}

// stop ends the goroutine and waits for it. It may be called again.
func (s *sweeper) stop() {
	s.once.Do(func() { close(s.quit) })
	<-s.done
}

// at is a moment on the sweeper's clock: nanoseconds since its start.
func (s *sweeper) at(now time.Time) int64 { return int64(now.Sub(s.epoch)) }

// rouse makes sure that the sweeper looks. A request calls it after its connection is marked busy; the sweeper looks
// for busy connections after it is marked asleep: one of the two sees the other.
func (s *sweeper) rouse() {
	if s.asleep.Load() && s.asleep.CompareAndSwap(true, false) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *sweeper) run(t *Transport) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	quiet := 0
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		case <-timer.C:
		}
		now := s.at(time.Now())
		young, _, _ := t.sweep(now)
		for _, c := range t.pool.expired(now - int64(t.o.IdleTimeout)) {
			t.discard(c)
		}
		if quiet++; young {
			quiet = 0
		}
		if quiet < resting {
			timer.Reset(tick)
			continue
		}
		s.asleep.Store(true)
		switch young, busy, open := t.sweep(now); {
		case young:
			quiet = 0
			s.asleep.Store(false)
			timer.Reset(tick)
		case busy:
			timer.Reset(slowTick)
		case open:
			timer.Reset(max(t.o.IdleTimeout/4, tick))
		default:
			timer.Stop()
		}
	}
}

// sweep looks at every connection. It reports whether one serves a request that was not seen before, whether one serves
// any, and whether there is one.
func (t *Transport) sweep(now int64) (young, busy, open bool) {
	t.conns.Each(func(c *conn) {
		open = true
		if c.busy.Load() {
			busy = true
			young = c.check(now) || young
		}
	})
	return young, busy, open
}
