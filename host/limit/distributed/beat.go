package distributed

import (
	"math"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

// divideAll does what a beat does to every bucket: it brings the level up to date, divides anew, and returns what to tell the
// others. Buckets that are full and that nobody wants are dropped.
func (r *rates) divideAll(now int64, everything bool) []load {
	var loads []load
	present := r.members.present()
	r.table.Filter(func(_ limit.Key, b *bucket) bool {
		b.view.Lock()
		defer b.view.Unlock()
		l, tell := r.divide(b, now, present)
		if tell || everything && l.level > 0 {
			loads = append(loads, l)
		}
		idle := b.demand == 0 && !b.said && b.view.level == 0 && b.passed.Load() == b.told && b.cell.Load().SealIdle(now)
		b.view.local = !idle
		return idle
	})
	r.dropViews(now)
	return loads
}

// dropViews drops what nobody has told of for long, in some of the shards at each beat.
func (r *rates) dropViews(now int64) {
	const turns = 8
	before := now - 10*missed*int64(r.beat)
	r.turn = (r.turn + 1) % turns
	for i := r.turn; i < len(r.views); i += turns {
		s := &r.views[i]
		s.Lock()
		for d, v := range s.views {
			if now > v.until && v.last < before && v.at < before {
				delete(s.views, d)
			}
		}
		s.Unlock()
	}
}

// divide brings one bucket up to date.
func (r *rates) divide(b *bucket, now int64, present map[uint64]bool) (load, bool) {
	v, rate, count := b.view, perSecond(b.rate), int(r.members.count.Load())
	elapsed := seconds(now - b.at)
	if elapsed == 0 {
		elapsed = r.beat.Seconds() / 1000
	}
	passed := b.passed.Load()
	recent, denied := passed-b.told, b.denied.Load()
	own := float64(recent)
	b.demand = follow(b.demand, own+float64(denied-b.missed), elapsed)
	b.told, b.missed = passed, denied
	if b.demand < rate/1000 {
		b.demand = 0
	}
	away := r.members.away.Load()
	if away { // the others let as much pass, each by its share
		own /= max(b.share, 1e-3)
	} else {
		v.forget(present)
	}
	v.level = min(max(0, v.level+own+v.heard-rate*seconds(now-v.at)), 2*b.rate.Burst())
	v.at, v.heard = now, 0
	v.until = max(v.until, now+int64(min(v.level/rate*1e9, 1<<61)))
	if !away && (count == 1 || now >= b.first) {
		next := share(rate, b.demand, v.others(r.members, now), count)
		if count > 1 || next != b.share {
			b.put(divide(rate, b.rate.Burst(), v.level, next, elapsed, count), now)
		}
		if count == 1 {
			v.level = b.cell.Load().Used(now) // alone, it is known exactly
		}
	}
	b.at = now
	tell := b.demand > 0 || own != 0 || b.said
	b.said = b.demand > 0
	return load{
		bucket: v.bucket, passed: passed, recent: uint32(min(recent, math.MaxUint32)),
		demand: float32(b.demand), level: float32(v.level), empty: float32(min(v.level/rate, 1e9)),
	}, tell
}

// put replaces the cell by one of the new part. Requests go on with the old one until the new one is there, and what they
// took is charged to it.
func (b *bucket) put(p part, now int64) {
	old := b.cell.Load()
	perNano := p.share * perSecond(b.rate) * 1e-9
	used := old.Used(now)
	room := min(b.burst-used, p.burst)
	room += p.weight * (p.room - room)
	cell := new(memory.Cell)
	cell.Set(perNano, p.burst, now, p.burst-room)
	b.share, b.burst = p.share, p.burst
	b.cell.Store(cell)
	if more := old.Seal(now) - used; more > 0 {
		cell.Charge(now, more)
	}
}

// forget drops what gateways told that are no more.
func (v *view) forget(present map[uint64]bool) {
	kept := v.peers[:0]
	for _, p := range v.peers {
		if present[p.id] {
			kept = append(kept, p)
		}
	}
	v.peers = kept
}
