package rpc

import (
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// Calls stay with one instance while it is through with what it has in time, by what hooks took of late; then the next fills.
func TestFill(t *testing.T) {
	s := &Server{o: Options{Fill: time.Millisecond}}
	a, b, c := &link{}, &link{}, &link{}
	s.ready.Store(&[]*link{a, b, c})
	spread := func(calls int) (loads [3]int64) {
		for range calls {
			s.pick(nil).unary.Add(1)
		}
		for i, l := range []*link{a, b, c} {
			loads[i] = l.unary.Swap(0)
		}
		return loads
	}
	most := int64(time.Millisecond/callCost) + 1
	if got := spread(50); got != [3]int64{50, 0, 0} {
		t.Errorf("quick calls went to %v", got)
	}
	if got := spread(int(most) + 10); got != [3]int64{most, 10, 0} {
		t.Errorf("more than one can take: %v", got)
	}
	for range 200 {
		s.cost.note(&wire.Result{Outcomes: []wire.HookOutcome{{Duration: 8 * time.Millisecond}, {Duration: 2 * time.Millisecond}}})
	}
	if got := spread(30); got != [3]int64{10, 10, 10} {
		t.Errorf("slow calls went to %v", got)
	}
	if got := s.pick([]*link{a, b}); got != c {
		t.Error("a link that was tried is chosen again")
	}
}
