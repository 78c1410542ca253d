package distributed

import "math"

const (
	divisible  = 10  // requests per gateway: a smaller burst is judged exactly
	spare      = 20  // at least a 20th of a rate is divided equally
	adaptation = 0.5 // seconds in which a demand is believed to two thirds
	correction = 3   // beats in which a part follows the level of all when that is high
)

// share is the part of a rate, of a bucket that n gateways divide, for the one with a demand of own while the others have
// others together. Over gateways with the same view it sums up to 1.
func share(rate, own, others float64, n int) float64 {
	total := own + others
	free := max(rate/spare, rate-total)
	return (own + free/float64(n)) / (total + free)
}

// part is what one gateway has of a bucket.
type part struct {
	share  float64
	burst  float64
	room   float64 // how many may pass now; below 0 in debt
	weight float64 // 0…1: how much of the room holds against the one that the gateway had
}

// divide gives a gateway its part of a bucket with so much rate (per second) and burst, of which level is used. seconds
// is the time since the last division.
func divide(rate, burst, level, share, seconds float64, n int) part {
	p := part{share: share, burst: max(1, share*burst)}
	left := burst - level
	p.room = share * left
	if left > 0 {
		// A small share of a bucket that is not used up is still one request, if there is one for each.
		p.room = max(p.room, min(1, left/float64(n)))
	}
	p.room = min(max(p.room, -p.burst), p.burst)
	// With much left the room is as heard, so that a share that has grown is there at once. With little left everybody
	// would take it, hear that it was taken, and wait: there each follows slowly, and not before its share has
	// given it a request of its own.
	slow := 1 - math.Exp(-seconds/max(correction*seconds, 1/(share*rate)))
	p.weight = max(slow, min(1, (left/burst-0.25)*2))
	return p
}

// follow is how a demand, per second, changes with so many asked in so many seconds.
func follow(demand, asked, seconds float64) float64 {
	return demand + (asked/seconds-demand)*(1-math.Exp(-seconds/adaptation))
}
