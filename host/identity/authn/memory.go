package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync"
	"time"
)

// Memory is what methods remember between requests: passwords that were right, signatures that were seen, and sessions
// that hooks made. It is
// bounded, safe for concurrent use, and shared by all methods of a gateway, so that a reload forgets nothing. It ends
// with the process, and other gateways do not share it: there, a signature counts as not seen.
type Memory struct {
	key  [32]byte // makes digests that mean nothing elsewhere
	seen signatures
	// right holds digests of passwords that were right, and until when they need not be hashed again.
	right passwords
	// vouched holds digests of sessions that hooks made, and until when they stand by them.
	vouched passwords
	// hashing has room for as many passwords as may be hashed at a time, so that guessing does not take every core.
	hashing chan struct{}
}

// Bounds of what is remembered. Signatures take some 40 bytes each.
const (
	maxSignatures = 1 << 20
	maxPasswords  = 1 << 14
	maxVouched    = 1 << 17
)

// NewMemory returns an empty memory.
func NewMemory() *Memory { return newMemory(maxSignatures, maxPasswords) }

func newMemory(signatures, passwords int) *Memory {
	m := &Memory{hashing: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	_, _ = rand.Read(m.key[:]) // never fails (crypto/rand)
	m.seen.room = max(1, signatures/shards)
	m.right.room = max(1, passwords/shards)
	m.vouched.room = maxVouched / shards
	return m
}

// digest is a keyed hash of parts, which are told apart by their lengths. Nothing is kept of the parts.
func (m *Memory) digest(parts ...string) (d [32]byte) {
	var room [512]byte
	b := append(room[:0], m.key[:]...)
	for _, p := range parts {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	d = sha256.Sum256(b)
	clear(b)
	return d
}

// Both memories are cut into parts with a lock each, by the first byte of the digest.
const shards = 16

// passwords remembers digests until a time.
type passwords struct {
	room   int
	shards [shards]struct {
		mu   sync.RWMutex
		good map[[32]byte]time.Time
	}
}

func (p *passwords) has(d [32]byte, now time.Time) bool {
	s := &p.shards[d[0]%shards]
	s.mu.RLock()
	until, ok := s.good[d]
	s.mu.RUnlock()
	return ok && now.Before(until)
}

// add forgets another digest when there is no room, one that has ended if there is one.
func (p *passwords) add(d [32]byte, now, until time.Time) {
	s := &p.shards[d[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good == nil {
		s.good = map[[32]byte]time.Time{}
	}
	if _, again := s.good[d]; !again && len(s.good) >= p.room {
		for old, end := range s.good {
			if !now.Before(end) {
				delete(s.good, old)
			}
		}
		for old := range s.good { // in no order
			if len(s.good) < p.room {
				break
			}
			delete(s.good, old)
		}
	}
	s.good[d] = until
}

// signatures remembers which signatures were seen, by the second of their date. When there is no room, all of the oldest
// second are forgotten and its signatures, and older ones, are refused from then on: under a flood the time in which a
// date is good gets shorter, and nothing that was seen is let in again.
type signatures struct {
	room   int
	shards [shards]seen
}

type seen struct {
	mu    sync.Mutex
	dates map[int64]map[[16]byte]struct{}
	count int
	floor int64 // dates up to this second have been forgotten
	keep  int64 // seconds for which dates are good at most
	swept int64
}

// first reports whether a signature of that date, good for keep seconds, has not been seen, and remembers it.
func (s *signatures) first(d [32]byte, date, now, keep int64) bool {
	return s.shards[d[0]%shards].first([16]byte(d[16:]), date, now, keep, s.room)
}

func (s *seen) first(d [16]byte, date, now, keep int64, room int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dates == nil {
		s.dates, s.floor, s.swept = map[int64]map[[16]byte]struct{}{}, -1<<62, now
	}
	s.keep = max(s.keep, keep)
	if s.swept != now {
		s.swept = now
		for at := range s.dates {
			if at+s.keep < now {
				s.forget(at)
			}
		}
	}
	if _, again := s.dates[date][d]; again || date <= s.floor {
		return false
	}
	for s.count >= room {
		oldest := int64(1<<63 - 1)
		for at := range s.dates {
			oldest = min(oldest, at)
		}
		s.forget(oldest)
	}
	if date <= s.floor {
		return false
	}
	if s.dates[date] == nil {
		s.dates[date] = map[[16]byte]struct{}{}
	}
	s.dates[date][d] = struct{}{}
	s.count++
	return true
}

// forget refuses from then on what it forgets, so that a clock that goes back brings nothing back.
func (s *seen) forget(at int64) {
	s.count -= len(s.dates[at])
	delete(s.dates, at)
	s.floor = max(s.floor, at)
}
