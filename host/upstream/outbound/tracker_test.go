package outbound

import (
	"sync"
	"testing"
)

func TestTracker(t *testing.T) {
	tr := NewTracker[int]()
	for i := range 5 {
		if !tr.Add(i) {
			t.Fatalf("%d was refused", i)
		}
	}
	tr.Remove(0)
	tr.Remove(4)
	tr.Remove(4)
	tr.Remove(9)
	sum := 0
	tr.Each(func(v int) { sum += v })
	if sum != 6 || tr.Len() != 3 {
		t.Errorf("got %d in all, of %d; want 6 of 3", sum, tr.Len())
	}
	empty := tr.Close()
	if tr.Add(7) {
		t.Error("added after Close")
	}
	for _, v := range []int{2, 1, 3} {
		select {
		case <-empty:
			t.Fatal("said to be empty too early")
		default:
		}
		tr.Remove(v)
	}
	<-empty
	<-tr.Close()
}

func TestTrackerOfMany(t *testing.T) {
	tr := NewTracker[int]()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				if tr.Add(i*1000 + j) {
					tr.Each(func(int) {})
					tr.Remove(i*1000 + j)
				}
			}
		})
	}
	<-tr.Close()
	all.Wait()
	if tr.Len() != 0 {
		t.Errorf("%d left", tr.Len())
	}
}
