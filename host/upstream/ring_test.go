package upstream

import (
	"slices"
	"testing"
)

func TestRing(t *testing.T) {
	tests := []struct {
		weights []int
		want    []int32 // nil: only the shares are checked
	}{
		{[]int{1}, []int32{0}},
		{[]int{7, 7}, []int32{0, 1}},
		{[]int{5, 1, 1}, []int32{0, 0, 1, 0, 2, 0, 0}}, // smooth: never five in a row
		{[]int{1_000_000, 1}, nil},
		{[]int{99_991, 49_999, 3}, nil},
	}
	for _, tt := range tests {
		r := newRing(tt.weights, 1)
		if tt.want != nil && !slices.Equal(r.turns, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.weights, r.turns, tt.want)
		}
		total := 0
		for _, w := range tt.weights {
			total += w
		}
		if len(r.turns) > maxRing+len(tt.weights) {
			t.Errorf("%v: %d turns", tt.weights, len(r.turns))
		}
		for i, w := range tt.weights {
			n := 0
			for _, turn := range r.turns {
				if turn == int32(i) {
					n++
				}
			}
			if share, want := float64(n)/float64(len(r.turns)), float64(w)/float64(total); n == 0 || share < want-0.001 || share > want+0.001 {
				t.Errorf("%v: target %d has %d of %d turns, want %.4f of them", tt.weights, i, n, len(r.turns), want)
			}
		}
	}
	t.Run("several hands", func(t *testing.T) {
		r := newRing([]int{3, 1}, 4)
		var n [2]int
		for range 4000 {
			n[r.turns[r.next()%uint64(len(r.turns))]]++
		}
		if n[1] < 996 || n[1] > 1004 { // each hand may be in the middle of a round
			t.Errorf("got %v of 4000, want about 3000 and 1000", n)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	u := &Upstream{targets: []*target{{}, {}, {}}, ring: newRing([]int{5, 3, 1}, 8)}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if u.pick(nil) == nil {
				b.Error("no target")
			}
		}
	})
}
