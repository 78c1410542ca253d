// Package pick chooses who gets a call. A load, of the one with an index, is how many calls it has; less than 0: it is not to be
// chosen.
package pick

import (
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// callCost is what a call costs an instance beside its hooks.
const callCost = 15 * time.Microsecond

// Costs are what calls take an instance, by those of late. The zero value is ready; it is safe for concurrent use, and may
// miss one of two calls that end at once.
type Costs struct{ mean atomic.Int64 }

// Note takes in what the hooks of a call took.
func (c *Costs) Note(r *wire.Result) {
	var took time.Duration
	for i := range r.Outcomes {
		took += r.Outcomes[i].Duration
	}
	old := c.mean.Load()
	c.mean.Store(old + (int64(took)-old)/16)
}

// Busiest returns the index of the busiest of n that takes less than most for the calls it has, one after the other: so calls
// stay together, and one more is used when it is of use. It returns -1 when there is none, as with a most of 0.
func (c *Costs) Busiest(n int, most time.Duration, load func(int) int) int {
	if most <= 0 {
		return -1
	}
	each := callCost + time.Duration(c.mean.Load())
	best, busiest := -1, -1
	for i := range n {
		if l := load(i); l > busiest && time.Duration(l)*each < most {
			best, busiest = i, l
		}
	}
	return best
}

// Least returns the index of the one of n with the least to do, of equals the next from first on; -1 when there is none.
func Least(n, first int, load func(int) int) int {
	best, least := -1, 0
	for i := range n {
		i = int((uint(first) + uint(i)) % uint(n))
		if l := load(i); l >= 0 && (best < 0 || l < least) {
			best, least = i, l
		}
	}
	return best
}
