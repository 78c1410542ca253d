package distributed

import (
	"sync"
	"sync/atomic"
)

const (
	missed = 5 // beats after which a gateway that was not heard is gone
	cutOff = 3 // beats after which one that does not hear itself is alone with its memory
)

// members are the gateways that share the limits, this one included.
type members struct {
	self  uint64
	beat  int64 // nanoseconds
	count atomic.Int32
	away  atomic.Bool // this one does not hear itself

	mu    sync.Mutex
	heard map[uint64]int64 // when, this one included
	most  int              // how many there are at least, until all had time to be heard
	until int64
}

func newMembers(self uint64, beat, now int64) *members {
	m := &members{self: self, beat: beat, heard: map[uint64]int64{self: now}}
	m.count.Store(1)
	return m
}

// expect sets how many there are, for as long as it takes to hear from them.
func (m *members) expect(n int, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most, m.until = n, now+missed*m.beat
	m.count.Store(int32(max(n, len(m.heard))))
}

// hear notes a message, and reports whether its sender is another gateway. One that was not known counts at once: what begins
// before the next beat is divided among all.
func (m *members) hear(sender uint64, flags byte, now int64) (another bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sender != m.self && flags&flagBye != 0 {
		delete(m.heard, sender)
		m.most, m.until = 0, 0
	} else {
		_, known := m.heard[sender]
		m.heard[sender] = now
		if !known {
			m.count.Store(max(m.count.Load(), int32(len(m.heard))))
		}
	}
	return sender != m.self
}

// update brings the count up to date, and reports whether this gateway has come back from being cut off.
func (m *members) update(now int64) (back bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now-m.heard[m.self] > cutOff*m.beat {
		m.away.Store(true)
		return false
	}
	if back = m.away.Swap(false); back {
		for id := range m.heard { // it could not hear them
			m.heard[id] = now
		}
	}
	for id, at := range m.heard {
		if id != m.self && now-at > missed*m.beat {
			delete(m.heard, id)
		}
	}
	n := len(m.heard)
	if now < m.until {
		n = max(n, m.most)
	}
	m.count.Store(int32(n))
	return back
}

// present reports, by id, which gateways there are.
func (m *members) present() map[uint64]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[uint64]bool, len(m.heard))
	for id := range m.heard {
		all[id] = true
	}
	return all
}
