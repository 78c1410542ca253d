package memory

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

const (
	sealed = math.MinInt64
	// A request is 2^24 units, so that a bucket's arithmetic is in whole numbers whatever the rate: a rate of 7 in 3
	// seconds has no nanoseconds per request. Fewer when the burst is so large that it would not fit.
	maxRequestBits = 24
	burstBits      = 50
	horizon        = 1 << 52 // units after the epoch, while float64 still tells one from the next
	slack          = 4       // units that rounding may have cost a caller who is on time
)

// Cell is a GCRA bucket in one atomic word: the time, in units since the epoch, at which it will be full again. Time is
// nanoseconds since any fixed moment. Use Set before it is shared.
type Cell struct {
	unit  float64 // units per nanosecond: what the bucket regains
	cost  int64   // units of one request, 1 << shift
	shift int
	full  int64 // units the bucket holds
	epoch int64
	tat   atomic.Int64 // theoretical arrival time, or sealed
}

// Outcome of a Take.
type Outcome uint8

// The outcomes.
const (
	Passed Outcome = iota
	Refused
	// Gone is that the cell was sealed, or that its epoch is too far away: replace it and ask again.
	Gone
)

// Level is how a cell was when it was asked.
type Level struct {
	Remaining int64
	Wait      time.Duration // until one more passes; 0: at once
	Full      time.Duration // until the bucket is full
	base      int64         // where the request that was taken begins, in units
}

// Set makes c a bucket that gains perNano requests each nanosecond, holds burst, and of which used are taken.
func (c *Cell) Set(perNano, burst float64, now int64, used float64) {
	burst = min(max(burst, 1), 1<<burstBits)
	c.shift = min(maxRequestBits, max(0, burstBits-bits.Len64(uint64(burst))))
	c.cost = 1 << c.shift
	c.unit = perNano * float64(c.cost)
	c.full = int64(burst * float64(c.cost))
	c.epoch = now
	c.tat.Store(int64(min(max(used, 0), 2*burst) * float64(c.cost)))
}

// SetRate is Set for all of a rate.
func (c *Cell) SetRate(r limit.Rate, now int64, used float64) {
	c.Set(r.Requests/float64(r.Per), r.Burst(), now, used)
}

// units is now in the cell's time; false when it is beyond what can be told exactly.
func (c *Cell) units(now int64) (int64, bool) {
	u := c.since(now)
	if u >= horizon || u <= -horizon {
		return 0, false
	}
	return int64(u), true
}

func (c *Cell) since(now int64) float64 {
	d := now - c.epoch
	if (now^c.epoch)&(now^d) < 0 { // more than an int64 apart
		return (float64(now) - float64(c.epoch)) * c.unit
	}
	return float64(d) * c.unit
}

// level is what is used at u, and the word it was read from. A word further ahead than a full bucket, of which the cell may be
// in debt once over, is of a clock that went back: it is brought into reach, which can only delay.
func (c *Cell) level(u int64) (level, tat int64, ok bool) {
	for {
		tat = c.tat.Load()
		switch {
		case tat == sealed:
			return 0, tat, false
		case tat <= u:
			return 0, tat, true
		case tat-u <= c.full+slack || tat <= 2*c.full && u >= 0:
			return tat - u, tat, true
		}
		c.tat.CompareAndSwap(tat, u+c.full)
	}
}

// Take takes one request if there is room for it.
func (c *Cell) Take(now int64) (Level, Outcome) {
	u, near := c.units(now)
	if !near {
		return Level{}, Gone
	}
	for {
		level, tat, ok := c.level(u)
		if !ok {
			return Level{}, Gone
		}
		if level+c.cost > c.full+slack {
			return c.describe(level, 0), Refused
		}
		if c.tat.CompareAndSwap(tat, u+level+c.cost) {
			return c.describe(level+c.cost, u+level), Passed
		}
	}
}

// Allows says whether a Take would pass, and nothing else: it is Look for those who take next.
func (c *Cell) Allows(now int64) Outcome {
	u, near := c.units(now)
	if !near {
		return Gone
	}
	level, _, ok := c.level(u)
	switch {
	case !ok:
		return Gone
	case level+c.cost > c.full+slack:
		return Refused
	}
	return Passed
}

// Look says how the cell is, and whether a Take would pass.
func (c *Cell) Look(now int64) (Level, Outcome) {
	u, near := c.units(now)
	if !near {
		return Level{}, Gone
	}
	level, _, ok := c.level(u)
	switch {
	case !ok:
		return Level{}, Gone
	case level+c.cost > c.full+slack:
		return c.describe(level, 0), Refused
	}
	return c.describe(level, 0), Passed
}

// describe is cheap: it is on every request's way.
func (c *Cell) describe(level, base int64) Level {
	l := Level{Remaining: max(0, (c.full+slack-level)>>c.shift), base: base, Full: c.duration(level)}
	if over := level + c.cost - c.full - slack; over > 0 {
		l.Wait = max(1, c.duration(over))
	}
	return l
}

// duration is the time in which so many units are regained, rounded up.
func (c *Cell) duration(units int64) time.Duration {
	if units <= 0 {
		return 0
	}
	d := math.Ceil(float64(units) / c.unit)
	if d >= math.MaxInt64 { // or a rate so low that the division gave infinity
		return math.MaxInt64
	}
	return time.Duration(d)
}

// GiveBack undoes the Take that returned l. Of what was taken, the part that time has given back meanwhile is not given
// back again, so that others who asked in between cannot pass twice for it.
func (c *Cell) GiveBack(now int64, l Level) {
	u, near := c.units(now)
	refund := min(c.cost, l.base+c.cost-u)
	if !near || refund <= 0 {
		return
	}
	for {
		tat := c.tat.Load()
		if tat == sealed || c.tat.CompareAndSwap(tat, tat-refund) {
			return
		}
	}
}

// Seal ends the cell and returns how many requests were used, for its successor.
func (c *Cell) Seal(now int64) float64 { return c.used(c.tat.Swap(sealed), now) }

// Used is how many requests are taken and not yet regained, 0 of a sealed cell.
func (c *Cell) Used(now int64) float64 { return c.used(c.tat.Load(), now) }

func (c *Cell) used(tat, now int64) float64 {
	if tat == sealed {
		return 0
	}
	// Beyond the horizon this is only nearly exact, and nothing but a bucket in use again gets there.
	level := float64(tat) - c.since(now)
	if level > float64(2*c.full) { // the clock went back
		level = float64(c.full)
	}
	return max(0, level) / float64(c.cost)
}

// Charge takes requests, whether there is room or not.
func (c *Cell) Charge(now int64, requests float64) {
	u, near := c.units(now)
	for near && requests > 0 {
		level, tat, ok := c.level(u)
		if !ok || c.tat.CompareAndSwap(tat, u+level+int64(requests*float64(c.cost))) {
			return
		}
	}
}

// Sealed reports whether the cell has ended.
func (c *Cell) Sealed() bool { return c.tat.Load() == sealed }

// SealIdle seals the cell if nothing of it is used.
func (c *Cell) SealIdle(now int64) bool {
	tat := c.tat.Load()
	return tat == sealed || c.used(tat, now) == 0 && c.tat.CompareAndSwap(tat, sealed)
}
