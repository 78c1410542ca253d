// Package ship is what the shipping plugins have in common: they differ in their sink. Records and events go from the
// gateway's observer queue into a queue in memory, from there in batches to the sink, and while the sink is down to a spool
// on disk. Nothing here is on a request's path, and nothing here waits for the sink but the goroutine that sends.
//
// Everything has a bound: the queue (queue.count, queue.size), the spool (spool.size), a batch, an attempt. Beyond them the
// oldest are dropped and counted. What was accepted and not dropped arrives at least once, in the order in which it was
// accepted: one batch is under way at a time, and what was not acknowledged is sent again.
package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/spool"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Options are what a Shipper is made of.
type Options struct {
	// Name is the plugin's, for logs and the spool's folder.
	Name string
	// Settings are complete (see [Settings.Complete]).
	Settings Settings
	Sink     Sink
	// Host is what the plugin was given.
	Host sdk.Host
	// Place tells spools of one plugin apart: what waits in one is for the place with that name and no other. It names no
	// secret. "" when there is but one.
	Place string
	// Most bounds a batch as the sink's protocol has it; zero fields bound nothing.
	Most struct{ Count, Size, Item int }
	// Grace is how long Close goes on sending; default 2 s.
	Grace time.Duration
	// Rejected is told of what the sink will not take, on the goroutine that sends; nil: it is only counted.
	Rejected func(items []Item, err error)
}

// Shipper is a queue that a goroutine empties into a sink. It is safe for concurrent use.
type Shipper struct {
	o     Options
	log   *slog.Logger
	count int // of items in a batch
	size  int // of their bodies

	mu     sync.Mutex
	memory []Item // newer than what is in disk
	bytes  int    // of memory
	seq    uint64 // of the last item that was put
	disk   *spool.Spool
	folders
	told    map[string]time.Time // when what went wrong with the spool was logged last
	down    bool                 // the last attempt failed
	pending time.Time            // since when the oldest in memory waits
	closed  bool
	counts  counts

	wake    chan struct{}
	closing chan struct{}
	ended   chan struct{}
}

// New starts a shipper, which Close ends and which then closes its sink. ctx lends its values and not its end.
func New(ctx context.Context, o Options) *Shipper {
	b := &o.Settings.Batch
	s := &Shipper{
		o: o, log: o.Host.Logger().With("plugin", o.Name), count: least(b.Count, o.Most.Count), size: least(int(b.Size), o.Most.Size),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}), told: map[string]time.Time{},
	}
	if s.o.Grace == 0 {
		s.o.Grace = 2 * time.Second
	}
	s.openSpool()
	go s.run(context.WithoutCancel(ctx))
	return s
}

func least(a, b int) int {
	if b > 0 {
		return min(a, b)
	}
	return a
}

// Put accepts an item. It does not wait for the sink; while the sink is down, or with spool.always, it writes to disk.
func (s *Shipper) Put(key, body []byte) { s.PutAll([]Item{{Key: key, Body: body}}) }

// PutAll is Put of many. Seqs are its own to give; the slice is the caller's again, what it holds is not.
func (s *Shipper) PutAll(items []Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.counts.dropped += uint64(len(items))
		return
	}
	first := len(s.memory) == 0 && (s.disk == nil || s.disk.Len() == 0)
	if first {
		s.pending = time.Now()
	}
	for _, i := range items {
		if !i.Fits() || s.o.Most.Item > 0 && len(i.Body) > s.o.Most.Item {
			s.counts.rejected++
			continue
		}
		s.seq++
		i.Seq = s.seq
		s.memory = append(s.memory, i)
		s.bytes += i.Size()
		s.counts.accepted++
	}
	if s.down || s.o.Settings.Spool.Always || s.over() {
		s.spill()
	}
	s.shed()
	if first || s.full() {
		s.rouse()
	}
}

// rouse wakes the goroutine that sends, if it sleeps. It need not be told of what only joins a batch that waits for more.
func (s *Shipper) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// full reports whether a batch waits for nothing more. What is on disk does not, unless everything goes there first.
func (s *Shipper) full() bool {
	if s.disk == nil || s.disk.Len() == 0 {
		return len(s.memory) >= s.count || s.bytes >= s.size
	}
	return !s.o.Settings.Spool.Always || s.down || s.disk.Len() >= s.count || s.disk.Waiting() >= int64(s.size)
}

// over reports whether memory holds more than it may.
func (s *Shipper) over() bool {
	return len(s.memory) > s.o.Settings.Queue.Count || s.bytes > int(s.o.Settings.Queue.Size)
}

// spill moves what is in memory to disk, as far as there is one.
func (s *Shipper) spill() {
	if s.disk == nil || len(s.memory) == 0 {
		return
	}
	lost := s.disk.Lost()
	n, err := s.disk.Append(s.memory)
	s.forget(n)
	s.noteLost(lost)
	if err != nil {
		s.trouble("cannot write to the spool: what does not fit into memory is dropped", err)
	}
}

// shed drops the oldest of what memory may not hold.
func (s *Shipper) shed() {
	n, bytes := 0, s.bytes
	for rest := s.memory; len(rest) > s.o.Settings.Queue.Count || bytes > int(s.o.Settings.Queue.Size); rest = rest[1:] {
		bytes -= rest[0].Size()
		n++
	}
	s.counts.dropped += uint64(n)
	s.forget(n)
}

// forget takes the first n out of memory. The room that they took is used again, unless it was needed once and is not as a
// rule.
func (s *Shipper) forget(n int) {
	for i := range n {
		s.bytes -= s.memory[i].Size()
	}
	left := len(s.memory) - n
	switch {
	case left == 0 && cap(s.memory) > 4*s.count:
		s.memory = nil
	case left <= n:
		copy(s.memory, s.memory[n:])
		clear(s.memory[left:])
		s.memory = s.memory[:left]
	default:
		clear(s.memory[:n])
		s.memory = s.memory[n:]
	}
}

// noteLost counts what the spool has lost since it said so last.
func (s *Shipper) noteLost(before spool.Lost) {
	now := s.disk.Lost()
	s.counts.dropped += now.Dropped - before.Dropped
	s.counts.corrupt += now.Corrupt - before.Corrupt
}

// Close sends what it can within the grace, leaves the rest in the spool, or drops it where there is none, and closes the
// sink.
func (s *Shipper) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		close(s.closing)
	}
	<-s.ended
	if again {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spill()
	var errs []error
	if left := len(s.memory); left > 0 {
		s.counts.dropped += uint64(left)
		errs = append(errs, fmt.Errorf("%s: %d records and events were not delivered in time and there is no spool for them", s.o.Name, left))
		s.forget(left)
	}
	if s.disk != nil {
		errs = append(errs, s.disk.Close())
	}
	return errors.Join(append(errs, s.o.Sink.Close())...)
}

// wait returns when there is a batch to send, or false when there never will be.
func (s *Shipper) wait() ([]Item, bool) {
	for {
		items, in, closed := s.front()
		if len(items) > 0 {
			return items, true
		}
		if closed {
			return nil, false
		}
		if !s.pause(in) {
			continue // closing: what there is goes now
		}
	}
}

// pause waits until something comes, and, when in is positive, at most so long. It returns false on Close.
func (s *Shipper) pause(in time.Duration) bool {
	var timeout <-chan time.Time
	if in > 0 {
		timer := time.NewTimer(in)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-s.wake:
	case <-timeout:
	case <-s.closing:
		return false
	}
	return true
}

// front is the next batch; without one, it says after how long there is one if nothing comes, 0: never.
func (s *Shipper) front() (items []Item, in time.Duration, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openSpool()
	s.adopt()
	if !s.closed && !s.full() {
		if in := s.patience(); in != 0 {
			return nil, in, false
		}
	}
	if s.disk != nil && s.disk.Len() > 0 {
		lost := s.disk.Lost()
		items, err := s.disk.Read(s.count, s.size)
		s.noteLost(lost)
		if err != nil {
			s.trouble("cannot read the spool", err)
		}
		if len(items) > 0 {
			return items, 0, s.closed
		}
		if err != nil {
			return nil, reopenEvery, s.closed
		}
	}
	n, size := 0, 0
	for n < min(len(s.memory), s.count) {
		if size += s.memory[n].Size(); size > s.size && n > 0 {
			break
		}
		n++
	}
	return slices.Clone(s.memory[:n]), 0, s.closed // what is spilled meanwhile is no longer in memory
}

// patience is how long a batch that is not full waits still; 0: no longer, or there is nothing to wait for.
func (s *Shipper) patience() time.Duration {
	var in time.Duration
	if len(s.memory) > 0 || s.disk != nil && s.disk.Len() > 0 {
		if in = s.due(); in == 0 {
			return 0
		}
	}
	return s.folders.patience(in)
}

// due is how long the oldest item still waits for more.
func (s *Shipper) due() time.Duration {
	return max(time.Until(s.pending.Add(time.Duration(s.o.Settings.Batch.Wait))), 0)
}

// arrived takes items up to seq out of the queue, wherever they are by now, and adds them to a count: not those that were
// dropped, and counted, while they were under way.
func (s *Shipper) arrived(seq uint64, count *uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.waiting() + s.counts.dropped
	defer func() { *count += before - s.waiting() - s.counts.dropped }()
	n := 0
	for n < len(s.memory) && s.memory[n].Seq <= seq {
		n++
	}
	s.forget(n)
	s.pending = time.Now() // what is left came while a batch was under way
	if s.disk == nil {
		return
	}
	lost := s.disk.Lost()
	if err := s.disk.Ack(seq); err != nil {
		s.trouble("cannot note in the spool what was delivered: it will be delivered again", err)
	}
	s.noteLost(lost)
}

// waiting is how many items are in the queue.
func (s *Shipper) waiting() uint64 {
	n := uint64(len(s.memory))
	if s.disk != nil {
		n += uint64(s.disk.Len())
	}
	return n
}
