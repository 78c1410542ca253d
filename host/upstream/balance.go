package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// maxRing bounds the schedule's length in turns; larger weights are scaled down, each target keeping one turn.
const maxRing = 4096

// A ring is a schedule of targets by weight: smooth weighted round robin, worked out once. Several hands move along it,
// so that many cores do not fight over one; each is exact, and together they are off by less than a round each.
type ring struct {
	turns []int32 // targets
	hands []hand
}

type hand struct {
	at atomic.Uint64
	_  [56]byte // a cache line of its own
}

func newRing(weights []int, hands int) ring {
	common, total := 0, 0
	for _, w := range weights {
		common = gcd(common, w)
		total += w
	}
	scaled := make([]int, len(weights))
	sum := 0
	for i, w := range weights {
		scaled[i] = w / common
		if total/common > maxRing {
			scaled[i] = max(1, int(float64(w)/float64(total)*maxRing))
		}
		sum += scaled[i]
	}
	r := ring{turns: make([]int32, sum), hands: make([]hand, hands)}
	credit := make([]int, len(scaled))
	for turn := range r.turns {
		best := 0
		for i, w := range scaled {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		r.turns[turn] = int32(best)
	}
	for i := range r.hands { // apart from each other
		r.hands[i].at.Store(uint64(i * sum / len(r.hands)))
	}
	return r
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// next moves a hand and returns where it stands.
func (r *ring) next() uint64 {
	h := &r.hands[0]
	if n := len(r.hands); n > 1 {
		h = &r.hands[rand.Uint32()%uint32(n)]
	}
	return h.at.Add(1) - 1
}

// pick returns the first target on the ring, from where a hand stands, that is available and not in tried. When none is
// available, those that are down are asked too: a reply is more likely from one of them than from nobody.
func (u *Upstream) pick(tried []*target) *target {
	at, turns := u.ring.next(), uint64(len(u.ring.turns))
	now := int64(0)
	for _, anyone := range [...]bool{false, true} {
	next:
		for i := range turns {
			t := u.targets[u.ring.turns[(at+i)%turns]]
			for _, other := range tried {
				if other == t {
					continue next
				}
			}
			if anyone || t.available(&now) {
				return t
			}
		}
	}
	return nil
}

// balance sends the call to a target by weight, and to further ones as long as nothing of it was sent.
func (u *Upstream) balance(call *outbound.Call) error {
	var memory [4]*target
	tried := memory[:0]
	var err error
	for call.Flow.Reply.Tries < u.o.Attempts {
		t := u.pick(tried)
		if t == nil {
			break
		}
		var retry bool
		if retry, err = u.attempt(call, t); err == nil || !retry {
			return err
		}
		if !call.Deadline.IsZero() && !time.Now().Before(call.Deadline) {
			return err
		}
		tried = append(tried, t)
	}
	return err
}
