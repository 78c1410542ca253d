package pick

import (
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// Calls stay with one instance while it is through with what it has in time, by what hooks took of late; then the next fills.
func TestBusiest(t *testing.T) {
	var c Costs
	spread := func(calls int) (loads [3]int, left int) {
		for range calls {
			i := c.Busiest(len(loads), time.Millisecond, func(i int) int { return loads[i] })
			if i < 0 {
				left++
				continue
			}
			loads[i]++
		}
		return loads, left
	}
	most := int(time.Millisecond/callCost) + 1
	if got, _ := spread(50); got != [3]int{50, 0, 0} {
		t.Errorf("quick calls went to %v", got)
	}
	if got, _ := spread(most + 10); got != [3]int{most, 10, 0} {
		t.Errorf("more than one can take: %v", got)
	}
	for range 200 {
		c.Note(&wire.Result{Outcomes: []wire.HookOutcome{{Duration: 8 * time.Millisecond}, {Duration: 2 * time.Millisecond}}})
	}
	if got, left := spread(30); got != [3]int{1, 1, 1} || left != 27 {
		t.Errorf("slow calls went to %v, %d to none", got, left)
	}
}

func TestLeast(t *testing.T) {
	for _, tt := range []struct {
		loads       []int
		first, want int
	}{
		{nil, 0, -1},
		{[]int{-1, -1}, 1, -1},
		{[]int{3, 2, 4}, 0, 1},
		{[]int{2, 2, 2}, 1, 1},
		{[]int{2, 2, 2}, 5, 2},
		{[]int{-1, 7, 8}, 0, 1},
	} {
		if got := Least(len(tt.loads), tt.first, func(i int) int { return tt.loads[i] }); got != tt.want {
			t.Errorf("%v from %d: got %d, want %d", tt.loads, tt.first, got, tt.want)
		}
	}
}
