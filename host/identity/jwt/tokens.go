package jwt

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a cache of verified tokens about which nothing is said.
const (
	DefaultTokens     = 32 << 10
	DefaultTokenBytes = 64 << 20
)

// digest is the SHA-256 of a token: what a cache knows it by, so that it need not keep tokens that open doors.
type digest [32]byte

// tokenKey keeps apart what different APIs make of the same token.
type tokenKey struct {
	api    uint64
	digest digest
}

// verified is what is known of a token whose signature and parties were right: enough to let it in again without looking
// at it. It is immutable but for used.
type verified struct {
	header, payload []byte
	times           times
	key             candidate
	identity        string // who calls; of a key's own token, the key
	session         string // the token of the virtual session; empty for a key's own token
	policies        []string
	clientKey       string // the key whose policies hold too
	defaults        bool   // the API's own policies hold when clientKey has none
	client          string // for oauth_client_id
	expires         int64  // of the virtual session; 0 is not said
	used            atomic.Int64
}

// size is roughly what v takes in memory.
func (v *verified) size() int64 {
	return 640 + int64(len(v.header)+len(v.payload)+len(v.identity)+len(v.session)+len(v.clientKey)+len(v.client)+16*len(v.policies))
}

// Tokens is a cache of verified tokens, for all APIs of a gateway together: a token that comes again costs a hash of it
// and no signature. An entry ends when the token expires or the key that verified it is rotated; when the cache is full,
// what was used longest ago, among a few, makes room. Only tokens with a good signature get in, so nobody can empty it
// from outside. It is safe for concurrent use.
type Tokens struct {
	last    atomic.Uint64 // authenticators there have been
	buffers sync.Pool     // of *[MaxToken]byte
	shards  [tokenShards]tokenShard
}

const tokenShards = 32

type tokenShard struct {
	mu       sync.RWMutex
	entries  map[tokenKey]*verified
	bytes    int64
	maxCount int
	maxBytes int64
	_        [64]byte // shards of their own cache line
}

// NewTokens returns an empty cache of about so many tokens and bytes at most; 0 means the defaults.
func NewTokens(count int, bytes int64) *Tokens {
	if count <= 0 {
		count = DefaultTokens
	}
	if bytes <= 0 {
		bytes = DefaultTokenBytes
	}
	t := &Tokens{}
	for i := range t.shards {
		s := &t.shards[i]
		s.entries, s.maxCount, s.maxBytes = map[tokenKey]*verified{}, max(1, count/tokenShards), max(1, bytes/tokenShards)
	}
	return t
}

// digest hashes a token of at most MaxToken bytes. The hash wants bytes, and the compiler cannot tell that it keeps none:
// hence the buffer.
func (t *Tokens) digest(text string) digest {
	b, ok := t.buffers.Get().(*[MaxToken]byte)
	if !ok {
		b = new([MaxToken]byte)
	}
	used := b[:copy(b[:], text)]
	sum := sha256.Sum256(used)
	clear(used)
	t.buffers.Put(b)
	return sum
}

// Len returns the number of tokens held.
func (t *Tokens) Len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}

func (t *Tokens) shard(k *tokenKey) *tokenShard { return &t.shards[k.digest[0]%tokenShards] }

// get returns nil when the token is not known.
func (t *Tokens) get(k *tokenKey, now time.Time) *verified {
	s := t.shard(k)
	s.mu.RLock()
	v := s.entries[*k]
	s.mu.RUnlock()
	// Seconds will do, and spare the cores of a busy token a write each.
	if at := now.Unix(); v != nil && v.used.Load() != at {
		v.used.Store(at)
	}
	return v
}

// put adds a token, unless it is larger than a shard.
func (t *Tokens) put(k *tokenKey, v *verified, now time.Time) {
	v.used.Store(now.Unix())
	s := t.shard(k)
	size := v.size()
	if size > s.maxBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(*k)
	for len(s.entries) > 0 && (len(s.entries) >= s.maxCount || s.bytes+size > s.maxBytes) {
		s.evict(now)
	}
	s.entries[*k] = v
	s.bytes += size
}

// drop removes what is under k if it is still v.
func (t *Tokens) drop(k *tokenKey, v *verified) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[*k] == v {
		s.remove(*k)
	}
}

func (s *tokenShard) remove(k tokenKey) {
	if v := s.entries[k]; v != nil {
		s.bytes -= v.size()
		delete(s.entries, k)
	}
}

// evict removes one of a few entries taken at random, as a map's iteration begins anywhere: one that has expired, else
// the one used longest ago.
func (s *tokenShard) evict(now time.Time) {
	var worst tokenKey
	var oldest int64
	looked := 0
	for k, v := range s.entries {
		if v.times.expires.said && v.times.expires.unix < now.Unix() {
			worst = k
			break
		}
		if used := v.used.Load(); looked == 0 || used < oldest {
			worst, oldest = k, used
		}
		if looked++; looked == 8 {
			break
		}
	}
	s.remove(worst)
}
