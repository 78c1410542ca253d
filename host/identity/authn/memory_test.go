package authn

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

func numbered(i uint64) (d [32]byte) {
	binary.BigEndian.PutUint64(d[24:], i)
	return d // all in one shard
}

// Nothing that was let in is let in again while its date is good, whatever the order of dates, the room, and the clock.
func TestSignaturesProperty(t *testing.T) {
	const skew = 5
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := signatures{room: 50}
		in := map[[2]int64]bool{}
		now := int64(1000)
		for range 20_000 {
			switch r.IntN(400) {
			case 0, 1, 2, 3, 4, 5, 6, 7:
				now++
			case 8:
				now -= r.Int64N(skew)
			}
			number, date := r.Int64N(2000), now-skew+r.Int64N(2*skew+1)
			if !s.first(numbered(uint64(number)), date, now, skew) {
				continue
			}
			if in[[2]int64{number, date}] {
				t.Fatalf("seed %d: signature %d of %d was let in twice", seed, number, date)
			}
			in[[2]int64{number, date}] = true
			if s.shards[0].count > s.room {
				t.Fatalf("%d are remembered", s.shards[0].count)
			}
		}
		if len(in) < 500 {
			t.Errorf("seed %d: only %d were let in", seed, len(in))
		}
	}
}

func TestSignaturesFull(t *testing.T) {
	s := signatures{room: 4}
	for i := range uint64(8) {
		if !s.first(numbered(i), 100+int64(i), 100, 30) {
			t.Fatalf("%d is refused", i)
		}
	}
	for i := range uint64(8) {
		if s.first(numbered(i), 100+int64(i), 100, 30) {
			t.Errorf("%d is let in again", i)
		}
	}
	if s.first(numbered(9), 103, 100, 30) {
		t.Error("a new one with a forgotten date is let in")
	}
	if !s.first(numbered(9), 108, 100, 30) {
		t.Error("a new one is refused")
	}
	if !s.first(numbered(10), 200, 200, 30) || s.shards[0].count != 1 {
		t.Errorf("%d are remembered after their time", s.shards[0].count)
	}
	if s.first(numbered(9), 108, 100, 30) {
		t.Error("the clock went back, and an old one is let in again")
	}
}

func TestPasswordsBounded(t *testing.T) {
	p := passwords{room: 4}
	now := time.Unix(1000, 0)
	for i := range uint64(10) {
		p.add(numbered(i), now, now.Add(time.Minute))
	}
	if n := len(p.shards[0].good); n != 4 || !p.has(numbered(9), now) {
		t.Errorf("%d of 4 are remembered, the last %v", n, p.has(numbered(9), now))
	}
	p.add(numbered(9), now, now.Add(time.Hour)) // again: nobody has to go
	if len(p.shards[0].good) != 4 {
		t.Error("one was forgotten for nothing")
	}
	now = now.Add(2 * time.Minute)
	p.add(numbered(20), now, now.Add(time.Minute))
	if len(p.shards[0].good) != 2 || !p.has(numbered(9), now) {
		t.Error("what has ended goes first")
	}
}

// Parts are told apart, and memories.
func TestDigest(t *testing.T) {
	m := NewMemory()
	first := m.digest("a")
	if m.digest("ab", "c") == m.digest("a", "bc") || m.digest("a", "") == first || m.digest("a") != first {
		t.Error("parts are not told apart")
	}
	if m.digest("a") == NewMemory().digest("a") {
		t.Error("digests mean something elsewhere")
	}
}
