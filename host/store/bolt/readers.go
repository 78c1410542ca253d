package bolt

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// readers keeps read transactions ready. Beginning one takes two of bbolt's locks, which every core would meet at;
// so each slot keeps its transaction until there is a newer state, and whoever reads takes a slot for that time by
// one compare-and-swap, the one its processor used before. Idle transactions would hold pages of old states, so the
// committer ends them after each commit; a busy one is ended by its reader.
type readers struct {
	db    *bbolt.DB
	slots []slot
	hints sync.Pool // *hint, one per processor as it happens
	dealt atomic.Uint32
	// newest is the id of the newest state that anybody has read or that was committed. A state can be read before
	// its commit has returned; from then on nobody gets an older one.
	newest atomic.Int64
	// tight is set when the next commits may outgrow the map: to map anew, bbolt waits for every read transaction, so
	// none may be kept.
	tight  atomic.Bool
	mapped int64
	closed atomic.Bool
}

type hint struct{ slot uint32 }

// reader is a read transaction that one goroutine has at a time.
type reader struct {
	tx      *bbolt.Tx
	entries *bbolt.Cursor
	state   int64  // the transaction's id
	key     []byte // room for a key
	fault   bool   // whether memory faults were panics before
}

type slot struct {
	busy atomic.Bool
	reader
	_ [64]byte // no two slots on one cache line
}

func newReaders(db *bbolt.DB, mapped int64) *readers {
	r := &readers{db: db, slots: make([]slot, max(8, 2*runtime.GOMAXPROCS(0))), mapped: mapped}
	r.hints.New = func() any { return &hint{r.dealt.Add(1)} }
	return r
}

// acquire gives the caller a read transaction of the newest state. Until release, memory faults are panics.
func (r *readers) acquire() (*slot, error) {
	h := r.hints.Get().(*hint)
	defer r.hints.Put(h)
	n := uint32(len(r.slots))
	for range 2 * n {
		s := &r.slots[h.slot%n]
		if !s.busy.Load() && s.busy.CompareAndSwap(false, true) {
			if err := r.renew(&s.reader); err != nil {
				s.busy.Store(false)
				return nil, err
			}
			return s, nil
		}
		h.slot++
	}
	s := &slot{} // all busy: more readers than slots, each preempted in the middle
	return s, r.renew(&s.reader)
}

// renew sees to it that the transaction is of the newest state.
func (r *readers) renew(d *reader) error {
	if r.closed.Load() {
		return store.ErrClosed
	}
	if d.tx == nil || d.state != r.newest.Load() {
		d.end()
		if err := r.begin(d); err != nil {
			d.end()
			return err
		}
	}
	d.fault = debug.SetPanicOnFault(true)
	return nil
}

func (r *readers) begin(d *reader) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = store.Damaged(r.db.Path(), fmt.Errorf("%v", fault))
		}
	}()
	if d.tx, err = r.db.Begin(false); err != nil {
		return store.ErrClosed // it has no other reason
	}
	entries := d.tx.Bucket([]byte(entriesBucket))
	if entries == nil {
		return store.Damaged(r.db.Path(), errors.New("a bucket is missing"))
	}
	d.state, d.entries = int64(d.tx.ID()), entries.Cursor()
	r.raise(d.state)
	return nil
}

func (r *readers) raise(state int64) {
	for {
		newest := r.newest.Load()
		if state <= newest || r.newest.CompareAndSwap(newest, state) {
			return
		}
	}
}

func (d *reader) end() {
	if d.tx != nil {
		_ = d.tx.Rollback() // of a read transaction: it cannot fail
		d.tx, d.entries = nil, nil
	}
}

// release gives a slot back. Deferred, it turns what reading a damaged file panics with into an error.
func (r *readers) release(s *slot, err *error) {
	debug.SetPanicOnFault(s.fault)
	if fault := recover(); fault != nil {
		*err = store.Damaged(r.db.Path(), fmt.Errorf("%v", fault))
		s.end()
	}
	if !s.busy.Load() || r.stale(&s.reader) {
		s.end()
	}
	state := s.state
	s.busy.Store(false)
	if state != r.newest.Load() || r.tight.Load() {
		r.retire(s) // the committer came by meanwhile and found it in use
	}
}

// retire ends a slot's transaction unless it is in use, in which case its user does.
func (r *readers) retire(s *slot) {
	if s.busy.CompareAndSwap(false, true) {
		if r.stale(&s.reader) {
			s.end()
		}
		s.busy.Store(false)
	}
}

// stale reports whether a transaction may not be kept.
func (r *readers) stale(d *reader) bool {
	return d.state != r.newest.Load() || r.tight.Load() || r.closed.Load()
}

// committed makes the state that was committed visible to whoever reads from now on.
func (r *readers) committed(state int64) {
	r.raise(state)
	for i := range r.slots {
		r.retire(&r.slots[i])
	}
}

// makeRoom is called before a commit that may let the file grow to size bytes.
func (r *readers) makeRoom(size int64) {
	if size < r.mapped || r.tight.Swap(true) {
		return
	}
	for i := range r.slots {
		r.retire(&r.slots[i])
	}
}

// close waits for readers and ends all transactions.
func (r *readers) close() {
	r.closed.Store(true)
	for i := range r.slots {
		s := &r.slots[i]
		for !s.busy.CompareAndSwap(false, true) {
			runtime.Gosched()
		}
		s.end()
		s.busy.Store(false) // renew refuses
	}
}
