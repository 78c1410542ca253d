package memory

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

const (
	shardBits = 6
	// Shards is into how many parts a table is divided. All keys of an owner are in one.
	Shards   = 1 << shardBits
	minSlots = 16
)

// Table maps keys to values. Get takes no lock, so that a bucket that all cores want is no queue; changes lock one
// shard. The zero value is not ready: use NewTable.
type Table[V any] struct {
	seed   maphash.Seed
	shards [Shards]shard[V]
}

type shard[V any] struct {
	mu    sync.Mutex
	slots atomic.Pointer[[]atomic.Pointer[node[V]]] // a power of two of chains
	count int
	swept int      // the next slot to sweep
	_     [64]byte // apart from the next shard's
}

type node[V any] struct {
	next  atomic.Pointer[node[V]]
	hash  uint64
	key   limit.Key
	value V
}

// Hash is a key's place in a table.
type Hash struct{ owner, key uint64 }

// Shard is the number of the shard, the same for all keys of an owner.
func (h Hash) Shard() int { return int(h.owner >> (64 - shardBits)) }

// NewTable returns an empty table.
func NewTable[V any]() *Table[V] {
	t := &Table[V]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		slots := make([]atomic.Pointer[node[V]], minSlots)
		t.shards[i].slots.Store(&slots)
	}
	return t
}

// Hash computes a key's place once for several calls.
func (t *Table[V]) Hash(k limit.Key) Hash {
	owner := maphash.String(t.seed, k.Owner)
	return Hash{owner: owner, key: owner ^ maphash.String(t.seed, k.Scope)*0x9E3779B97F4A7C15}
}

// Shard is the number of the shard that keeps an owner's keys.
func (t *Table[V]) Shard(owner string) int {
	return int(maphash.String(t.seed, owner) >> (64 - shardBits))
}

func (t *Table[V]) shard(h Hash) *shard[V] { return &t.shards[h.Shard()] }

// Get returns the value of a key, or nil.
func (t *Table[V]) Get(h Hash, k limit.Key) *V {
	// A chain can be relinked while it is read, and the read then miss what is there: callers go on to Put, which looks
	// again under the lock.
	return find(*t.shard(h).slots.Load(), h, k)
}

func find[V any](slots []atomic.Pointer[node[V]], h Hash, k limit.Key) *V {
	for n := slots[h.key&uint64(len(slots)-1)].Load(); n != nil; n = n.next.Load() {
		if n.hash == h.key && n.key == k {
			return &n.value
		}
	}
	return nil
}

// Put makes a value for a key in place of old, which is nil when there was none, and returns it. When there is another
// than old by now, that is returned, and fill is not called. fill makes the new value, under the shard's lock: it
// must be quick, and has to seal old.
func (t *Table[V]) Put(h Hash, k limit.Key, old *V, fill func(*V)) *V {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := *s.slots.Load()
	if now := find(slots, h, k); now != nil && now != old {
		return now
	}
	n := &node[V]{hash: h.key, key: k}
	fill(&n.value)
	s.remove(slots, func(m *node[V]) bool { return m.hash == h.key && m.key == k }, h.key)
	head := &slots[h.key&uint64(len(slots)-1)]
	n.next.Store(head.Load())
	head.Store(n)
	s.count++
	if s.count > 2*len(slots) {
		s.resize(2 * len(slots))
	}
	return &n.value
}

// Drop takes a key out of the table if gone, called under the shard's lock, says so of its value.
func (t *Table[V]) Drop(h Hash, k limit.Key, gone func(*V) bool) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(*s.slots.Load(), func(n *node[V]) bool { return n.hash == h.key && n.key == k && gone(&n.value) }, h.key)
}

// DropOwner does the same for every key of an owner.
func (t *Table[V]) DropOwner(owner string, gone func(limit.Key, *V) bool) {
	s := &t.shards[t.Shard(owner)]
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := *s.slots.Load()
	for i := range slots {
		s.remove(slots, func(n *node[V]) bool { return n.key.Owner == owner && gone(n.key, &n.value) }, uint64(i))
	}
}

// remove unlinks the nodes of one chain that match. A reader on an unlinked node still finds its way on.
func (s *shard[V]) remove(slots []atomic.Pointer[node[V]], match func(*node[V]) bool, hash uint64) {
	link := &slots[hash&uint64(len(slots)-1)]
	for n := link.Load(); n != nil; n = link.Load() {
		if match(n) {
			link.Store(n.next.Load())
			s.count--
			continue
		}
		link = &n.next
	}
}

// resize relinks all nodes into another number of chains. Chains never have a circle, so readers come to an end.
func (s *shard[V]) resize(size int) {
	old := *s.slots.Load()
	slots := make([]atomic.Pointer[node[V]], size)
	for i := range old {
		for n := old[i].Load(); n != nil; {
			next := n.next.Load()
			head := &slots[n.hash&uint64(size-1)]
			n.next.Store(head.Load())
			head.Store(n)
			n = next
		}
	}
	s.swept &= size - 1
	s.slots.Store(&slots)
}

// Sweep goes on through the table from where the last call stopped and drops the values that gone says are done with.
// It looks at a 16th of each shard, at least one chain, and holds one shard's lock at a time.
func (t *Table[V]) Sweep(gone func(limit.Key, *V) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		slots := *s.slots.Load()
		for range max(1, len(slots)/16) {
			s.remove(slots, func(n *node[V]) bool { return gone(n.key, &n.value) }, uint64(s.swept))
			s.swept = (s.swept + 1) & (len(slots) - 1)
		}
		if len(slots) > minSlots && s.count < len(slots)/4 {
			s.resize(len(slots) / 2)
		}
		s.mu.Unlock()
	}
}

// Filter looks at every value and drops those that gone says are done with, one shard's lock held at a time.
func (t *Table[V]) Filter(gone func(limit.Key, *V) bool) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		slots := *s.slots.Load()
		for j := range slots {
			s.remove(slots, func(n *node[V]) bool { return gone(n.key, &n.value) }, uint64(j))
		}
		if len(slots) > minSlots && s.count < len(slots)/4 {
			s.resize(len(slots) / 2)
		}
		s.mu.Unlock()
	}
}

// Len is how many keys there are.
func (t *Table[V]) Len() int {
	total := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		total += s.count
		s.mu.Unlock()
	}
	return total
}
