package distributed

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

// bucket is this gateway's part of a rate. Requests are judged by its cell; each beat divides anew and puts another cell in
// its place.
type bucket struct {
	rate   limit.Rate // final, as view is; another rate is another bucket
	view   *view
	cell   atomic.Pointer[memory.Cell]
	passed atomic.Uint64 // ever; requests that all their buckets let pass
	denied atomic.Uint64 // ever; requests that this bucket refused

	// The rest is under the view's lock.
	told   uint64  // of passed, already in the level
	missed uint64  // of denied, already in the demand
	demand float64 // requests per second
	share  float64
	burst  float64
	at     int64 // when it was divided
	first  int64 // until when it has its first part: not all may have told of it
	said   bool  // others have been told of it, and not yet that nobody asks any more
}

// view is what is known of a bucket from everybody: also of one that nobody has asked for here.
type view struct {
	*viewShard
	bucket digest
	local  bool    // there is a bucket, whose beats bring the level up to date
	level  float64 // requests used
	at     int64   // when they were
	heard  float64 // what others have let pass and is not in level yet
	last   int64   // when others told of it
	until  int64   // when it says nothing any more
	peers  []peerLoad
}

type peerLoad struct {
	id     uint64
	passed uint64
	demand float64
	at     int64
}

type viewShard struct {
	sync.Mutex
	views map[digest]*view
}

// rates are all rate buckets of a gateway.
type rates struct {
	members *members
	beat    time.Duration
	table   *memory.Table[bucket]
	views   [memory.Shards]viewShard
	turn    int // of dropViews; the beat's
}

func newRates(m *members, beat time.Duration) *rates {
	r := &rates{members: m, beat: beat, table: memory.NewTable[bucket]()}
	for i := range r.views {
		r.views[i].views = map[digest]*view{}
	}
	return r
}

func (r *rates) shard(d digest) *viewShard { return &r.views[d[0]%memory.Shards] }

// view returns what is known of a bucket, under its shard's lock.
func (s *viewShard) view(d digest, now int64) *view {
	v := s.views[d]
	if v == nil {
		v = &view{viewShard: s, bucket: d, at: now}
		s.views[d] = v
	}
	return v
}

// get returns a bucket with the asked rate, made from what is known if there is none.
func (r *rates) get(b *limit.RateBucket, now int64) *bucket {
	h := r.table.Hash(b.Key)
	for {
		found := r.table.Get(h, b.Key)
		if found != nil && found.rate == b.Rate {
			return found
		}
		d := digestOf(b.Key)
		r.table.Put(h, b.Key, found, func(n *bucket) {
			s := r.shard(d)
			s.Lock()
			defer s.Unlock()
			n.rate, n.view = b.Rate, s.view(d, now)
			if found != nil { // what it let pass and was asked for goes on
				if old := found.cell.Load(); old != nil {
					old.Seal(now)
				}
				n.passed.Store(found.passed.Load())
				n.denied.Store(found.denied.Load())
				n.told, n.missed, n.demand, n.said = found.told, found.missed, found.demand, found.said
			}
			r.begin(n, now)
		})
	}
}

// begin gives a new bucket its first cell: its part of what the others have left, as far as they have told.
func (r *rates) begin(b *bucket, now int64) {
	perSecond, count := perSecond(b.rate), int(r.members.count.Load())
	others := b.view.others(r.members, now)
	level := max(0, b.view.level-perSecond*seconds(now-b.view.at)) + b.view.heard
	level += float64(b.passed.Load() - b.told)
	b.told = b.passed.Load()
	b.view.level, b.view.at, b.view.heard, b.view.local = level, now, 0, true
	p := divide(perSecond, b.rate.Burst(), level, share(perSecond, b.demand, others, count), r.beat.Seconds(), count)
	b.share, b.burst, b.at, b.first = p.share, p.burst, now, now+int64(r.beat)*3/2
	cell := new(memory.Cell)
	cell.Set(b.share*perSecond*1e-9, p.burst, now, p.burst-p.room)
	b.cell.Store(cell)
}

func perSecond(r limit.Rate) float64 { return r.Requests / r.Per.Seconds() }

func seconds(nanos int64) float64 { return time.Duration(max(0, nanos)).Seconds() }

// others is what other gateways that are there are asked for, per second.
func (v *view) others(m *members, now int64) float64 {
	sum := 0.0
	for _, p := range v.peers {
		if m.away.Load() || now-p.at <= missed*m.beat {
			sum += p.demand
		}
	}
	return sum
}

// look and take judge one request.
func (r *rates) look(b *limit.RateBucket, now int64) (*bucket, memory.Level, memory.Outcome) {
	return r.judge(b, now, (*memory.Cell).Look)
}

func (r *rates) take(b *limit.RateBucket, now int64) (*bucket, memory.Level, memory.Outcome) {
	return r.judge(b, now, (*memory.Cell).Take)
}

func (r *rates) judge(b *limit.RateBucket, now int64, ask func(*memory.Cell, int64) (memory.Level, memory.Outcome)) (*bucket, memory.Level, memory.Outcome) {
	for {
		found := r.get(b, now)
		cell := found.cell.Load()
		level, out := ask(cell, now)
		if out != memory.Gone {
			return found, level, out
		}
		// A beat has put another in its place, or dropped the bucket; or the cell is beyond its horizon.
		if !cell.Sealed() {
			r.renew(found, cell, now)
		}
	}
}

func (r *rates) renew(b *bucket, old *memory.Cell, now int64) {
	b.view.Lock()
	defer b.view.Unlock()
	if b.cell.Load() != old || old.Sealed() {
		return
	}
	cell := new(memory.Cell)
	cell.Set(b.share*perSecond(b.rate)*1e-9, b.burst, now, old.Used(now))
	b.cell.Store(cell)
	old.Seal(now)
}

// hear takes in what another gateway tells.
func (r *rates) hear(m *message, now int64) {
	for _, l := range m.loads {
		s := r.shard(l.bucket)
		s.Lock()
		s.view(l.bucket, now).hear(m.sender, l, int64(r.beat), now)
		s.Unlock()
	}
}

func (v *view) hear(sender uint64, l load, beat, now int64) {
	v.until = max(v.until, now+int64(min(float64(l.empty)*1e9, 1<<61)))
	v.last = now
	i := slices.IndexFunc(v.peers, func(p peerLoad) bool { return p.id == sender })
	if i < 0 {
		i = len(v.peers)
		v.peers = append(v.peers, peerLoad{})
	}
	p := &v.peers[i]
	switch {
	case !v.local:
		v.level, v.at, v.heard = float64(l.level), now, 0
	case p.id == sender && now-p.at <= cutOff*beat && l.passed >= p.passed:
		v.heard += float64(l.passed - p.passed) // with what was in a message that was lost
	default:
		// What it let pass long ago has been regained, and what has not is in its level.
		v.heard += float64(l.recent)
		if float64(l.level) > v.level+v.heard {
			v.level, v.heard, v.at = float64(l.level), 0, now
		}
	}
	*p = peerLoad{sender, l.passed, float64(l.demand), now}
}
