package budget

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	type crash struct {
		after, up time.Duration // since the last one; of which it had run
		wait      time.Duration
		held      bool
	}
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name    string
		policy  Policy
		crashes []crash
	}{
		{"one", Policy{}, []crash{{0, 5 * s, 0, false}}},
		{"backs off", Policy{Crashes: 100}, []crash{
			{0, 0, 0, false}, {s, 0, 200 * ms, false}, {s, 0, 400 * ms, false}, {s, 0, 800 * ms, false}, {s, 0, 1600 * ms, false},
		}},
		{"to an end", Policy{Crashes: 100, Most: s}, []crash{
			{0, 0, 0, false}, {s, 0, 200 * ms, false}, {s, 0, 400 * ms, false}, {s, 0, 800 * ms, false}, {s, 0, s, false}, {s, 0, s, false},
		}},
		{"stable", Policy{Crashes: 100}, []crash{
			{0, 0, 0, false}, {s, 0, 200 * ms, false}, {61 * s, 60 * s, 0, false}, {s, 59 * s, 200 * ms, false},
		}},
		{"quarantine", Policy{Crashes: 3, Longest: 3 * time.Minute}, []crash{
			{0, 0, 0, false}, {s, 0, 200 * ms, false}, {s, 0, time.Minute, true},
			{time.Minute, s, 2 * time.Minute, true}, {time.Minute, s, 3 * time.Minute, true}, {time.Minute, s, 3 * time.Minute, true},
			{time.Hour, time.Minute, 0, false}, {s, 0, 200 * ms, false},
		}},
		{"rarely", Policy{Crashes: 2, Window: 10 * s, Stable: time.Hour, Most: s}, []crash{
			{0, 0, 0, false}, {10 * s, 0, 200 * ms, false}, {10 * s, 0, 400 * ms, false}, {9 * s, 0, time.Minute, true},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := New(test.policy)
			b.random = func(most time.Duration) time.Duration { return most }
			now := time.Unix(1e9, 0)
			for i, c := range test.crashes {
				now = now.Add(c.after)
				if wait, held := b.Crashed(now, c.up); wait != c.wait || held != c.held {
					t.Errorf("crash %d: got %v %v, want %v %v", i, wait, held, c.wait, c.held)
				}
			}
		})
	}
}

func TestManyCrashes(t *testing.T) {
	for _, first := range []time.Duration{0, time.Minute, 30 * 24 * time.Hour} {
		manyCrashes(t, Policy{Crashes: 1 << 30, Window: 1, First: first, Most: max(30*time.Second, 2*first)})
	}
}

func manyCrashes(t *testing.T, p Policy) {
	b := New(p)
	now := time.Unix(1e9, 0)
	for n := range 100 {
		now = now.Add(time.Second)
		if wait, held := b.Crashed(now, 0); wait < 0 || wait > p.Most || wait == 0 && n > 0 || held {
			t.Fatalf("crash %d of %+v: got %v %v", n, p, wait, held)
		}
	}
	b.Forgive()
	if wait, _ := b.Crashed(now, 0); wait != 0 {
		t.Errorf("forgiven, and it waits %v", wait)
	}
}
