package storetest

import (
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func ends(f Fixture, in time.Duration) time.Time { return f.Now().Add(in) }

func testExpiry(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	soon := ends(f, 300*time.Millisecond)
	put(t, s, "x/soon", "v", soon)
	put(t, s, "x/late", "v", ends(f, time.Hour))
	put(t, s, "x/never", "v", time.Time{})
	if e := want(t, s, "x/soon", "v"); e.Expires.Sub(soon).Abs() > 100*time.Millisecond {
		t.Errorf("ends %v, want %v", e.Expires, soon)
	}
	put(t, s, "x/past", "v", ends(f, -time.Second))
	wantNone(t, s, "x/past")
	put(t, s, "x/never", "w", ends(f, -time.Second))
	wantNone(t, s, "x/never")
	put(t, s, "x/never", "v", time.Time{})

	f.Pass(500 * time.Millisecond)
	wantNone(t, s, "x/soon")
	want(t, s, "x/late", "v")
	want(t, s, "x/never", "v")
	entries, err := s.Many(ctx, []string{"x/soon", "x/late"})
	if err != nil || entries[0].Value != nil || entries[1].Value == nil {
		t.Errorf("many: %v, %v", entries, err)
	}
	if keys, _ := all(t, s, "x/", 10); len(keys) != 2 || keys["x/soon"] {
		t.Errorf("listed %v", keys)
	}
	put(t, s, "x/soon", "again", time.Time{})
	if e := want(t, s, "x/soon", "again"); !e.Expires.IsZero() {
		t.Errorf("written without an end, it ends %v", e.Expires)
	}
}

// An update keeps the end it is given back, and sees nothing of what has ended.
func testExpiryOfUpdates(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	end := ends(f, 400*time.Millisecond)
	put(t, s, "k", "1", end)
	change := func(old *store.Entry) (*store.Entry, error) {
		if old == nil {
			return &store.Entry{Value: []byte("fresh")}, nil
		}
		return &store.Entry{Value: append([]byte(nil), append(old.Value[:len(old.Value):len(old.Value)], '+')...), Expires: old.Expires}, nil
	}
	if err := s.Update(ctx, "k", change); err != nil {
		t.Fatal(err)
	}
	if e := want(t, s, "k", "1+"); e.Expires.Sub(end).Abs() > 100*time.Millisecond {
		t.Errorf("ends %v, want %v", e.Expires, end)
	}
	f.Pass(600 * time.Millisecond)
	if err := s.Update(ctx, "k", change); err != nil {
		t.Fatal(err)
	}
	if e := want(t, s, "k", "fresh"); !e.Expires.IsZero() {
		t.Errorf("ends %v, want never", e.Expires)
	}
	late := ends(f, time.Hour)
	err := s.Update(ctx, "k", func(old *store.Entry) (*store.Entry, error) {
		old.Expires = late
		return old, nil
	})
	if e := want(t, s, "k", "fresh"); err != nil || e.Expires.Sub(late).Abs() > time.Second {
		t.Errorf("only the end changed: %v, ends %v, want %v", err, e.Expires, late)
	}
}

func testExpiryOfNewAndSums(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	end := ends(f, 400*time.Millisecond)
	lock := store.Entry{Value: []byte("me"), Expires: end}
	for i, wanted := range []bool{true, false} {
		if ok, err := s.PutNew(ctx, "lock", lock); err != nil || ok != wanted {
			t.Errorf("put new %d: %t, %v", i, ok, err)
		}
	}
	if ok, err := s.PutNew(ctx, "past", store.Entry{Expires: ends(f, -time.Second)}); err != nil || !ok {
		t.Errorf("put new, ended: %t, %v", ok, err)
	}
	wantNone(t, s, "past")
	for i := range 2 { // the second end is ignored: the number has one
		if n, err := s.Add(ctx, "n", 5, end.Add(time.Duration(i)*time.Hour)); err != nil || n != int64(5*(i+1)) {
			t.Errorf("add: %d, %v", n, err)
		}
	}
	f.Pass(600 * time.Millisecond)
	wantNone(t, s, "lock")
	wantNone(t, s, "n")
	lock.Expires = time.Time{}
	if ok, err := s.PutNew(ctx, "lock", lock); err != nil || !ok {
		t.Errorf("put new after the end: %t, %v", ok, err)
	}
	if n, err := s.Add(ctx, "n", 1, time.Time{}); err != nil || n != 1 {
		t.Errorf("add after the end: %d, %v", n, err)
	}
	if e := want(t, s, "n", "1"); !e.Expires.IsZero() {
		t.Errorf("a number without an end ends %v", e.Expires)
	}
	if n, err := s.Add(ctx, "late", 1, ends(f, -time.Second)); err != nil || n != 1 {
		t.Errorf("add with an end in the past: %d, %v", n, err)
	}
	wantNone(t, s, "late")
}
