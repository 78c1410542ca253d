package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	maxBatch      = 1024    // jobs of one commit
	maxBatchBytes = 8 << 20 // of values, after which a commit takes no further job
	// A failed store tries to write this often, so that its status tells when it works again.
	probeEvery = time.Second
)

// A job is what one caller wants written. Its change either succeeds or has written nothing.
type job struct {
	change func(*batch) error
	writes int // how many records it may write, and of how many bytes in all
	bytes  int
	done   chan error // room for one
}

// batch is the transaction a job writes to.
type batch struct {
	entries *bbolt.Bucket
	state   int64 // the transaction's id
	now     time.Time
	wrote   bool
	told    []string // keys whose watchers are to be told
}

// do queues a change and waits until it is on disk.
func (s *Store) do(ctx context.Context, writes, bytes int, change func(*batch) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: write: %w", err)
	}
	j := &job{change: change, writes: writes, bytes: bytes, done: make(chan error, 1)}
	if err := s.enqueue(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("store: write: %w: still waiting for the disk, it may take effect: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (s *Store) enqueue(ctx context.Context, j *job) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	select {
	case <-s.closed:
		return store.ErrClosed
	default:
	}
	select {
	case s.queue <- j:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("store: write: %w: the disk is behind: %w", store.ErrUnavailable, ctx.Err())
	}
}

// committer owns all writing.
func (s *Store) committer() {
	probe := time.NewTicker(probeEvery)
	defer probe.Stop()
	for {
		select {
		case j := <-s.queue:
			s.commitBatch(s.gather(j))
		case <-probe.C:
			s.probe()
		case <-s.closed:
			for len(s.queue) > 0 {
				s.commitBatch(s.gather(<-s.queue))
			}
			return
		}
	}
}

// probe tries to write to what could not be written.
func (s *Store) probe() {
	s.health.Lock()
	entries, counts := s.entriesErr != nil, s.countsErr != nil
	s.health.Unlock()
	if entries {
		s.commitBatch([]*job{probeJob()})
	}
	if counts {
		_ = s.counts.Save(s.ctx) // the status tells
	}
}

// gather takes what else is waiting: while one commit waits for the disk, the next one's jobs queue.
func (s *Store) gather(first *job) []*job {
	jobs, bytes := []*job{first}, first.bytes
	for len(jobs) < maxBatch && bytes < maxBatchBytes {
		select {
		case j := <-s.queue:
			jobs, bytes = append(jobs, j), bytes+j.bytes
		default:
			return jobs
		}
	}
	return jobs
}

// commitBatch writes jobs in one transaction and answers them. Watchers are told before.
func (s *Store) commitBatch(jobs []*job) {
	if broken := s.broken.Load(); broken != nil {
		answer(jobs, nil, *broken)
		return
	}
	b := &batch{now: s.options.Now()}
	results := make([]error, len(jobs))
	err := s.transact(b, jobs, results)
	if err == nil && b.wrote {
		s.readers.committed(b.state)
		s.feed.Tell(store.Change{Keys: b.told})
	}
	if err != nil || b.wrote {
		s.mark(&s.entriesErr, err)
	}
	answer(jobs, results, err)
}

func answer(jobs []*job, results []error, err error) {
	for i, j := range jobs {
		if err != nil {
			j.done <- err
		} else {
			j.done <- results[i]
		}
	}
}

// transact runs the jobs and commits. What a damaged file makes bbolt panic with is an error like a failed sync: after
// either, nobody knows what the file holds, and nothing more is written to it until it is opened anew.
func (s *Store) transact(b *batch, jobs []*job, results []error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var tx *bbolt.Tx
	defer func() {
		if fault := recover(); fault != nil {
			err = s.breakDown(store.Damaged(s.path, fmt.Errorf("%v", fault)))
			abandon(tx)
		}
	}()
	s.readers.makeRoom(s.growth(jobs))
	if tx, err = s.db.Begin(true); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	b.state = int64(tx.ID())
	b.entries = tx.Bucket([]byte(entriesBucket))
	for i, j := range jobs {
		results[i] = j.change(b)
	}
	if !b.wrote {
		return tx.Rollback()
	}
	if err := tx.Commit(); err != nil {
		failure := store.Unwritten(s.path, err)
		if errors.Is(failure, store.ErrFull) {
			return failure
		}
		return s.breakDown(failure)
	}
	return nil
}

// abandon lets go of bbolt's locks, which its Close waits for, if there is enough left of the transaction to do so.
func abandon(tx *bbolt.Tx) {
	defer func() { _ = recover() }()
	if tx != nil {
		_ = tx.Rollback() // its error would be that it ended before
	}
}

func (s *Store) breakDown(err error) error {
	err = fmt.Errorf("%w: nothing is written until the gateway is restarted", err)
	s.broken.Store(&err)
	return err
}

// growth is a bound on the file's size after the jobs: each record takes its bytes, twice for pages half full, and a
// copy of each page on the way to it.
func (s *Store) growth(jobs []*job) int64 {
	const depth = 8
	page := int64(s.db.Info().PageSize)
	size := s.size() + 64*page
	size += size / 256 // the list of free pages
	for _, j := range jobs {
		size += 2*int64(j.bytes) + int64(j.writes)*depth*page
	}
	return size
}

// size is how much of the file is in use, free pages among it.
func (s *Store) size() int64 {
	tx, err := s.db.Begin(false)
	if err != nil {
		return 0
	}
	defer tx.Rollback()
	return tx.Size()
}

// probeJob writes something that is there.
func probeJob() *job {
	return &job{writes: 1, done: make(chan error, 1), change: func(b *batch) error {
		b.wrote = true
		return b.entries.Tx().Bucket([]byte(formatBucket)).Put([]byte(formatKey), []byte(format))
	}}
}
