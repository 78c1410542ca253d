package identity

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// A resident is what is known of one key id. It holds as long as it is not dead, and as the policies are those it was
// made with.
type resident struct {
	id         string
	stored     *Session // as it is in the store, or will be when it has been written; policies not applied
	applied    *Session // with them
	grants     *grants  // what comes of its access rights, nil when nobody shares them
	sum        uint64   // of the bytes in the store
	ends       int64    // unix milliseconds when the store forgets it; 0 never
	generation uint64   // of the policies
	doubts     uint64   // of Keys
	weight     int64    // bytes, estimated

	made  atomic.Pointer[Caller] // for the first name
	plain atomic.Pointer[Caller] // without a token
	given atomic.Pointer[given]  // what it was adopted from
	dead  atomic.Bool            // changed, or no longer in the cache, where a change would reach it
	used  atomic.Bool            // since the clock last came by
	entry entry                  // byID
	name  atomic.Pointer[entry]  // the last of the other names, which goes with it
}

// caller returns the caller under a token of its own, or with none.
func (r *resident) caller(token string) *Caller {
	if token == "" {
		if c := r.plain.Load(); c != nil {
			return c
		}
	}
	c := r.made.Load()
	if c == nil {
		c = newCaller(token, r.id, r.applied, r.grants)
		c.Version = r.sum
		r.made.Store(c)
	}
	c = c.as(token)
	if token == "" {
		r.plain.Store(c)
	}
	return c
}

// An entry is a name that leads to a resident. Every cached resident has one of kind byID; when that goes, the resident is
// dead, and with it every other name.
type entry struct {
	kind      kind
	org, name string
	resident  *resident
	caller    *Caller // nil byID
	hash      uint64
}

type kind uint8

const (
	byToken kind = iota
	byID
	byCertificate
)

const (
	ways     = 8   // entries that share a place
	notes    = 256 // counters of changes
	doorBits = 16  // for each slot
)

// cache finds entries by name. Reading takes no lock and writes nothing but a mark that is mostly set; every name has
// one place, of eight entries, which a clock hand clears when it is full.
type cache struct {
	seed   maphash.Seed
	places []place
	mask   uint64
	most   int64 // residents
	room   int64 // bytes
	count  atomic.Int64
	weight atomic.Int64
	hand   atomic.Uint64 // the next place to clear when there is no room
	// door has two bits for each id that was not let in a while ago: when there is no room, who comes once is not worth one of
	// those who may come again.
	door   []atomic.Uint64
	turned atomic.Int64 // how many ids are in it
	// changed counts changes of ids, each counter those of many. A read notes its counter before it asks the store; a
	// resident is kept only while the counter is the same.
	changed [notes]atomic.Uint64
}

type place struct {
	tags    [ways]atomic.Uint64 // hash of the entry, a hint
	entries [ways]atomic.Pointer[entry]
	mu      sync.Mutex
	hand    uint8
}

// newCache has room for so many residents, each with two names, and for about so many bytes.
func newCache(residents int, room int64) *cache {
	places := 1
	for places*ways < 4*residents { // half full: few places overflow
		places *= 2
	}
	return &cache{
		seed: maphash.MakeSeed(), places: make([]place, places), mask: uint64(places - 1), most: int64(residents), room: room,
		door: make([]atomic.Uint64, max(1, doorBits*places*ways/64)),
	}
}

// admits reports whether a resident is to be kept: there is room, or its id was asked for before, not long ago.
func (c *cache) admits(id string) bool {
	if c.count.Load() < c.most && c.weight.Load() < c.room {
		return true
	}
	h := c.hash(byID, "", id) >> 8
	bits := uint64(1)<<(h&63) | uint64(1)<<(h>>6&63)
	if c.door[(h>>12)%uint64(len(c.door))].Or(bits)&bits == bits {
		return true
	}
	if c.turned.Add(1) > int64(len(c.door))*64/16 { // an eighth of the bits: of strangers, one in some hundred is taken for known
		c.turned.Store(0)
		for i := range c.door {
			c.door[i].Store(0)
		}
	}
	return false
}

func (c *cache) hash(k kind, org, name string) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := maphash.String(c.seed, name) + uint64(k)*odd
	if org != "" {
		h ^= maphash.String(c.seed, org) * odd
	}
	return h | 1 // 0 is an empty slot
}

// get compares names as they are, not in constant time: who does not know the seed cannot make two names with one tag,
// so a guess learns nothing about a token that is there.
func (c *cache) get(k kind, org, name string) *entry {
	h := c.hash(k, org, name)
	p := &c.places[(h>>32)&c.mask]
	for i := range p.tags {
		if p.tags[i].Load() != h {
			continue
		}
		if e := p.entries[i].Load(); e != nil && e.kind == k && e.name == name && e.org == org {
			return e
		}
	}
	return nil
}

// note returns the state of an id's changes, for put.
func (c *cache) note(id string) uint64 { return c.changed[c.counter(id)].Load() }

func (c *cache) counter(id string) uint64 { return maphash.String(c.seed, id) % notes }

// putResident keeps the resident unless its id changed since the note was taken, and reports whether it did.
func (c *cache) putResident(r *resident, note uint64) bool {
	e := &r.entry
	e.kind, e.name, e.resident = byID, r.id, r
	h := c.hash(byID, "", r.id)
	p := &c.places[(h>>32)&c.mask]
	p.mu.Lock()
	if c.note(r.id) != note {
		p.mu.Unlock()
		r.dead.Store(true)
		return false
	}
	gone := c.store(p, h, e)
	p.mu.Unlock()
	c.release(gone)
	c.shrink()
	return true
}

// putName keeps another name of a resident.
func (c *cache) putName(e *entry) {
	h := c.hash(e.kind, e.org, e.name)
	p := &c.places[(h>>32)&c.mask]
	p.mu.Lock()
	gone := c.store(p, h, e)
	p.mu.Unlock()
	e.resident.name.Store(e)
	c.release(gone)
}

// store returns the resident that had to go, if any. It needs p's lock.
func (c *cache) store(p *place, h uint64, e *entry) (gone *resident) {
	slot := -1
	for i := range p.tags { // and not the entries, each somewhere else in memory
		tag := p.tags[i].Load()
		if tag == 0 {
			slot = i
			continue
		}
		if tag != h {
			continue
		}
		if old := p.entries[i].Load(); old.kind == e.kind && old.name == e.name && old.org == e.org {
			slot = i // wherever else there is room: nobody may find the old one
			break
		}
	}
	if slot < 0 {
		slot = c.victim(p)
	}
	gone = c.remove(p, slot)
	e.hash = h
	if e.kind == byID {
		c.count.Add(1)
		c.weight.Add(e.resident.weight)
	}
	p.entries[slot].Store(e)
	p.tags[slot].Store(h)
	return gone
}

// release clears the place of a name that leads to a resident that is gone, which would stay in memory with it. It must
// be called without a place's lock.
func (c *cache) release(gone *resident) {
	if gone == nil {
		return
	}
	e := gone.name.Swap(nil)
	if e == nil {
		return
	}
	p := &c.places[(e.hash>>32)&c.mask]
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.entries {
		if p.entries[i].Load() == e {
			c.remove(p, i)
		}
	}
}

// victim is the next slot that is dead, or was not used since the hand last came by. It needs p's lock, and all slots taken.
func (c *cache) victim(p *place) int {
	for range 2 * ways {
		i := int(p.hand)
		p.hand = (p.hand + 1) % ways
		if r := p.entries[i].Load().resident; r.dead.Load() || !r.used.Swap(false) {
			return i
		}
	}
	return int(p.hand)
}

// remove returns the resident that is gone with its entry, if any. It needs p's lock.
func (c *cache) remove(p *place, i int) (gone *resident) {
	e := p.entries[i].Load()
	if e == nil {
		return nil
	}
	p.tags[i].Store(0)
	p.entries[i].Store(nil)
	if e.kind != byID {
		return nil
	}
	e.resident.dead.Store(true)
	c.count.Add(-1)
	c.weight.Add(-e.resident.weight)
	return e.resident
}

// forget makes the resident of an id dead, and voids the notes of reads under way.
func (c *cache) forget(id string) {
	c.changed[c.counter(id)].Add(1)
	c.forgetName(byID, "", id)
}

func (c *cache) forgetName(k kind, org, name string) {
	h := c.hash(k, org, name)
	p := &c.places[(h>>32)&c.mask]
	var gone *resident
	p.mu.Lock()
	for i := range p.entries {
		if e := p.entries[i].Load(); e != nil && e.kind == k && e.name == name && e.org == org {
			gone = c.remove(p, i)
		}
	}
	p.mu.Unlock()
	c.release(gone)
}

// doubt voids the notes of all reads under way.
func (c *cache) doubt() {
	for i := range c.changed {
		c.changed[i].Add(1)
	}
}

// forgetAll empties the cache.
func (c *cache) forgetAll() {
	c.doubt()
	for i := range c.places {
		p := &c.places[i]
		p.mu.Lock()
		for slot := range p.entries {
			c.remove(p, slot)
		}
		p.mu.Unlock()
	}
}

// shrink removes residents that were not used since the hand last came by, until what is kept has room again.
func (c *cache) shrink() {
	for range 2 * len(c.places) {
		if c.weight.Load() <= c.room && c.count.Load() <= c.most {
			return
		}
		p := &c.places[c.hand.Add(1)&c.mask]
		for i := range p.entries {
			if e := p.entries[i].Load(); e != nil && e.kind == byID && !e.resident.used.Swap(false) {
				var gone *resident
				p.mu.Lock()
				if p.entries[i].Load() == e {
					gone = c.remove(p, i)
				}
				p.mu.Unlock()
				c.release(gone)
			}
		}
	}
}
