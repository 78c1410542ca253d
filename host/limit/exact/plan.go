package exact

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

const exactly = 1 << 53 // whole numbers that Lua can tell apart

// plan is which calls judge an ask, and which call has which bucket.
type plan struct {
	ask   *limit.Ask
	calls []*call
}

func (l *Limiter) plan(a *limit.Ask, take bool) *plan {
	p := &plan{ask: a}
	mode := "0"
	if take {
		mode = "1"
	}
	for i, b := range a.Rates {
		if b.Rate.None() {
			continue
		}
		c, n := p.call(l, b.Key.Owner, mode)
		c.add(i, n, "r"+b.Key.Scope, number(b.Rate.Burst()), number(perMicro(b.Rate)))
	}
	for i, b := range a.Quotas {
		if b.Max <= 0 {
			continue
		}
		c, n := p.call(l, b.Key.Owner, mode)
		c.add(^i, n, "q"+b.Key.Scope, min(b.Max, exactly), micros(b.Renewal))
	}
	return p
}

func (c *call) add(bucket int, args ...any) {
	c.buckets = append(c.buckets, bucket)
	c.args = append(c.args, args...)
}

// call returns the call for an owner's slot, and the number of the owner's key in it. A new one begins with args.
func (p *plan) call(l *Limiter, owner string, args ...any) (*call, int) {
	var slotted *call
	for _, c := range p.calls {
		if i := slices.Index(c.owners, owner); i >= 0 {
			return c, i + 1
		}
		if !l.cluster || slot(c.keys[0]) == slot(l.key(owner)) {
			slotted = c
		}
	}
	if slotted == nil {
		slotted = &call{args: args}
		p.calls = append(p.calls, slotted)
	}
	slotted.owners = append(slotted.owners, owner)
	slotted.keys = append(slotted.keys, l.key(owner))
	return slotted, len(slotted.keys)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', 17, 64) }

// perMicro is what a rate regains in a microsecond, never 0.
func perMicro(r limit.Rate) float64 {
	return max(r.Requests/float64(r.Per)*float64(time.Microsecond), 1e-300)
}

// micros is a window in microseconds: one that is shorter is one.
func micros(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, d.Microseconds())
}

// duration is what a script told in microseconds.
func duration(us int64) time.Duration {
	if us > math.MaxInt64/int64(time.Microsecond) {
		return math.MaxInt64
	}
	return time.Duration(us) * time.Microsecond
}

// read fills in a verdict: rates before quotas, each in their order, wherever they were counted.
func (p *plan) read(v *limit.Verdict, now time.Time) error {
	type refusal struct {
		bucket int
		wait   time.Duration
	}
	var refusals []refusal
	for _, c := range p.calls {
		if want := 1 + 4*len(c.buckets); len(c.reply) != want {
			return limit.Unavailable("redis", badReply(len(c.reply), want))
		}
		for i, bucket := range c.buckets {
			r := c.reply[1+4*i:]
			wait := time.Duration(0)
			if bucket >= 0 {
				burst := p.ask.Rates[bucket].Rate.Burst()
				v.Rates[bucket] = limit.State{Limit: int64(min(burst, 1<<62)), Remaining: r[1], Reset: later(now, duration(r[3]))}
				wait = duration(r[2])
			} else {
				b := &p.ask.Quotas[^bucket]
				s := limit.State{Limit: b.Max, Remaining: max(0, b.Max-r[1])}
				if r[2] >= 0 {
					s.Reset = later(now, duration(r[2]))
					wait = max(1, duration(r[2]))
				}
				v.Quotas[^bucket] = s
			}
			if r[0] == 0 {
				refusals = append(refusals, refusal{bucket, wait})
			}
		}
	}
	slices.SortFunc(refusals, func(a, b refusal) int { return order(a.bucket) - order(b.bucket) })
	for _, r := range refusals {
		if r.bucket >= 0 {
			v.Refuse(limit.ByRate, r.bucket, r.wait)
		} else {
			v.Refuse(limit.ByQuota, ^r.bucket, r.wait)
		}
	}
	return nil
}

// order puts rates before quotas.
func order(bucket int) int {
	if bucket >= 0 {
		return bucket
	}
	return 1<<30 + ^bucket
}

// later is a time after now, at the latest the last that fits.
func later(now time.Time, d time.Duration) time.Time {
	if sum := now.UnixNano() + int64(d); sum >= now.UnixNano() {
		return time.Unix(0, sum)
	}
	return time.Unix(0, math.MaxInt64)
}

// takenBack is the calls that give back what was taken where all of a slot's buckets passed.
func (p *plan) takenBack(l *Limiter) []*call {
	var back []*call
	for _, c := range p.calls {
		if len(c.reply) != 1+4*len(c.buckets) {
			continue // no reply: whether it took cannot be known
		}
		passed := true
		for i := range c.buckets {
			passed = passed && c.reply[1+4*i] == 1
		}
		if !passed {
			continue
		}
		settle := &call{owners: c.owners, keys: c.keys}
		for i, bucket := range c.buckets {
			r := c.reply[1+4*i:]
			if bucket >= 0 {
				b := &p.ask.Rates[bucket]
				settle.add(bucket, c.number(b.Key.Owner), "r"+b.Key.Scope, c.reply[0]+r[3], number(perMicro(b.Rate)), 0)
			} else {
				b := &p.ask.Quotas[^bucket]
				settle.add(bucket, c.number(b.Key.Owner), "q"+b.Key.Scope, -1, r[3], micros(b.Renewal))
			}
		}
		back = append(back, settle)
	}
	return back
}

// number is that of an owner's key.
func (c *call) number(owner string) int { return slices.Index(c.owners, owner) + 1 }

func (l *Limiter) planDeltas(deltas []Delta) *plan {
	p := &plan{}
	for i, d := range deltas {
		b := d.Quota
		c, n := p.call(l, b.Key.Owner)
		c.add(i, n, "q"+b.Key.Scope, d.N, d.Begun, micros(b.Renewal))
	}
	return p
}

func (p *plan) readCounts(deltas []Delta, counts []Count) error {
	for _, c := range p.calls {
		if want := 1 + 2*len(c.buckets); len(c.reply) != want {
			return limit.Unavailable("redis", badReply(len(c.reply), want))
		}
		for i, bucket := range c.buckets {
			used, begun := c.reply[1+2*i], c.reply[2+2*i]
			counts[bucket] = Count{Used: used, Begun: begun}
			if renewal := deltas[bucket].Quota.Renewal; renewal > 0 && used > 0 {
				counts[bucket].Left = max(1, renewal-duration(c.reply[0]-begun))
			}
		}
	}
	return nil
}

// slot is where a cluster keeps a key: CRC16 of it, or of what is between the first braces, modulo 16384 (Redis cluster
// specification, "Key distribution model").
func slot(key string) uint16 {
	if _, rest, found := strings.Cut(key, "{"); found {
		if tag, _, closed := strings.Cut(rest, "}"); closed && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

// String is for errors and tests.
func (c *call) String() string { return fmt.Sprintf("%v: %v", c.keys, c.args) }
