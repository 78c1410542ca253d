package h1

import (
	"math/rand/v2"
	"runtime"
	"sync"
)

// A pool holds unused connections, the latest used on top, in several parts so that many cores do not queue at one
// lock. A connection goes back to the part it came from.
type pool struct {
	parts []part
	max   int // connections per part
}

type part struct {
	mu     sync.Mutex
	idle   []*conn
	closed bool
	_      [64]byte // keeps parts on different cache lines
}

func (p *pool) init(maxIdle int) {
	n := max(1, min(runtime.GOMAXPROCS(0)/2, 8, maxIdle/32))
	p.parts = make([]part, n)
	p.max = max(0, (maxIdle+n-1)/n)
}

// get takes a connection out; nil when there is none. home is the part for a connection dialled instead.
func (p *pool) get() (c *conn, home int) {
	if n := len(p.parts); n > 1 {
		home = int(rand.Uint32() % uint32(n))
	}
	for i := range p.parts {
		if c := p.parts[(home+i)%len(p.parts)].pop(); c != nil {
			return c, home
		}
	}
	return nil, home
}

// put keeps a connection; it reports false when it may not be kept.
func (p *pool) put(c *conn) bool {
	t := &p.parts[c.home]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.idle) >= p.max {
		return false
	}
	t.idle = append(t.idle, c)
	return true
}

func (p *part) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

// expired takes out the connections unused since before.
func (p *pool) expired(before int64) []*conn {
	var old []*conn
	for i := range p.parts {
		t := &p.parts[i]
		t.mu.Lock()
		n := 0
		for n < len(t.idle) && t.idle[n].used < before {
			n++
		}
		if n > 0 {
			old = append(old, t.idle[:n]...)
			rest := copy(t.idle, t.idle[n:])
			clear(t.idle[rest:])
			t.idle = t.idle[:rest]
		}
		t.mu.Unlock()
	}
	return old
}

// close takes everything out and keeps nothing from now on.
func (p *pool) close() []*conn {
	var all []*conn
	for i := range p.parts {
		t := &p.parts[i]
		t.mu.Lock()
		all = append(all, t.idle...)
		t.idle, t.closed = nil, true
		t.mu.Unlock()
	}
	return all
}
