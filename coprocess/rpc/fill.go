package rpc

import (
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// callCost is what a call costs an instance beside its hooks.
const callCost = 15 * time.Microsecond

// costs is what a call takes an instance, by those of late. The zero value is ready; it is safe for concurrent use, and may
// miss one of two calls that end at once.
type costs struct{ mean atomic.Int64 }

// note takes in what the hooks of a call took.
func (c *costs) note(r *wire.Result) {
	var took time.Duration
	for i := range r.Outcomes {
		took += r.Outcomes[i].Duration
	}
	old := c.mean.Load()
	c.mean.Store(old + (int64(took)-old)/16)
}

// of is what so many calls take, one after the other.
func (c *costs) of(calls int) time.Duration {
	return time.Duration(calls) * (callCost + time.Duration(c.mean.Load()))
}

// filled chooses the busiest link that may have one more call (see Options.Fill); nil when none may.
func (s *Server) filled(links []*link) *link {
	var best *link
	most := -1
	for _, l := range links {
		if load := l.load(); load > most && s.cost.of(load) < s.o.Fill {
			best, most = l, load
		}
	}
	return best
}
