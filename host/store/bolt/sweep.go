package bolt

import (
	"bytes"
	"time"
)

// A sweep walks on through the entries from where the last one ended, round and round. There is no index by end: keeping
// one would double what each write costs, for something that is never looked up.
type sweep struct{ from []byte }

// sweeper removes ended entries, SweepSteps looked at per tick. Ticks come by the monotonic clock, so that
// a wall clock that jumps changes what has ended, not the work.
func (s *Store) sweeper() {
	tick := time.NewTicker(s.options.SweepEvery)
	defer tick.Stop()
	w := &sweep{}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			// A failure is the store's status, and the next round finds the same entries again.
			_ = s.sweepOnce(w)
		}
	}
}

func (s *Store) sweepOnce(w *sweep) error {
	ended, err := s.findEnded(w)
	if err != nil || len(ended) == 0 {
		return err
	}
	return s.remove(ended)
}

// remove deletes those that have ended when it is their turn.
func (s *Store) remove(ended [][]byte) error {
	return s.do(s.ctx, len(ended), 0, func(b *batch) error {
		for _, key := range ended {
			e, err := parseRecord(b.entries.Get(key))
			if err != nil || !e.Ended(b.now) {
				continue // gone or written anew meanwhile
			}
			b.wrote = true
			if err := b.entries.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// findEnded looks at the next entries of the round.
func (s *Store) findEnded(w *sweep) (ended [][]byte, err error) {
	r, err := s.readers.acquire()
	if err != nil {
		return nil, err
	}
	defer s.readers.release(r, &err)
	cursor := r.entries
	now := s.options.Now()
	key, record := cursor.Seek(w.from)
	for range s.options.SweepSteps {
		if key == nil {
			break
		}
		if e, err := parseRecord(record); err == nil && e.Ended(now) {
			ended = append(ended, bytes.Clone(key))
		}
		key, record = cursor.Next()
	}
	w.from = bytes.Clone(key) // nil: from the beginning
	return ended, nil
}
