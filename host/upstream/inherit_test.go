package upstream

import (
	"errors"
	"testing"
	"time"
)

// What is known of a target goes to the next upstream, by name, as far as something there can take it back.
func TestInherit(t *testing.T) {
	made := func(o Options, urls ...string) *Upstream {
		t.Helper()
		for _, u := range urls {
			o.Targets = append(o.Targets, Target{URL: u})
		}
		u, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Close(t.Context()) })
		return u
	}
	ejecting := Options{Ejection: Ejection{Failures: 1, For: time.Hour}}
	checking := Options{Health: Health{Interval: time.Hour}}
	const a, b = "http://127.0.0.1:1", "http://127.0.0.1:2"
	before := made(ejecting, a, b)
	before.failed(before.targets[0], errors.New("no answer"))
	before.targets[1].sick.Store(true)
	for _, tt := range []struct {
		name string
		next *Upstream
		want []bool // up
	}{
		{"as it was", made(ejecting, a, b), []bool{false, true}},
		{"in another order", made(ejecting, b, "http://127.0.0.1:3", a), []bool{true, true, false}},
		{"with checks and without ejection", made(checking, a, b), []bool{true, false}},
		{"with neither", made(Options{}, a, b), []bool{true, true}},
	} {
		tt.next.Inherit(before)
		for i, s := range tt.next.Targets() {
			if s.Up != tt.want[i] {
				t.Errorf("%s: %s up %v", tt.name, s.Target, s.Up)
			}
			if s.Target == a && s.LastError != "no answer" {
				t.Errorf("%s: the last error is %q", tt.name, s.LastError)
			}
		}
	}
}
