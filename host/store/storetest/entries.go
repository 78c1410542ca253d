package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func testGetAndApply(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	wantNone(t, s, "key/none")
	wantNone(t, s, "")
	if err := s.Apply(ctx); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	values := map[string]string{
		"key/a":                           "one",
		"key/empty":                       "",
		"key/binary\x00\xff\n*?[]\\{x}":   "\x00\xff\r\n",
		"key/" + strings.Repeat("k", 900): strings.Repeat("v", 1<<20),
	}
	for key, value := range values {
		put(t, s, key, value, time.Time{})
	}
	for key, value := range values {
		if e := want(t, s, key, value); e.Value == nil || !e.Expires.IsZero() {
			t.Errorf("%q: value %v, ends %v", key, e.Value, e.Expires)
		}
	}
	put(t, s, "key/a", "two", time.Time{})
	want(t, s, "key/a", "two")
	for range 2 { // deleting what is not there is no error
		if err := s.Apply(ctx, store.Write{Key: "key/a", Delete: true}); err != nil {
			t.Fatal(err)
		}
		wantNone(t, s, "key/a")
	}
	want(t, s, "key/empty", "")
}

func testOwnership(t *testing.T, f Fixture) {
	written := []byte("mine")
	if err := f.Store.Apply(deadline(t), store.Write{Key: "k", Entry: store.Entry{Value: written}}); err != nil {
		t.Fatal(err)
	}
	copy(written, "xxxx")
	copy(want(t, f.Store, "k", "mine").Value, "yyyy")
	want(t, f.Store, "k", "mine")
}

func testLimits(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	long := strings.Repeat("k", store.MaxKey)
	put(t, s, long, "v", time.Time{})
	want(t, s, long, "v")
	large := make([]byte, store.MaxValue+1)
	for name, w := range map[string]store.Write{
		"no key":   {},
		"long key": {Key: long + "k"},
		"large":    {Key: "k", Entry: store.Entry{Value: large}},
	} {
		if err := s.Apply(ctx, store.Write{Key: "first"}, w); !errors.Is(err, store.ErrEntry) {
			t.Errorf("%s: apply: %v", name, err)
		}
		if _, err := s.PutNew(ctx, w.Key, w.Entry); !errors.Is(err, store.ErrEntry) {
			t.Errorf("%s: put new: %v", name, err)
		}
		change := func(*store.Entry) (*store.Entry, error) { return &w.Entry, nil }
		if err := s.Update(ctx, w.Key, change); !errors.Is(err, store.ErrEntry) {
			t.Errorf("%s: update: %v", name, err)
		}
	}
	if _, err := s.Add(ctx, "", 1, time.Time{}); !errors.Is(err, store.ErrEntry) {
		t.Errorf("add to no key: %v", err)
	}
	wantNone(t, s, "first")
}

// A batch is made in order, and as large as it comes.
func testBatch(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	writes := []store.Write{
		{Key: "b/twice", Entry: store.Entry{Value: []byte("1")}},
		{Key: "b/twice", Entry: store.Entry{Value: []byte("2")}},
		{Key: "b/gone", Entry: store.Entry{Value: []byte("1")}},
		{Key: "b/gone", Delete: true},
		{Key: "b/back", Delete: true},
		{Key: "b/back", Entry: store.Entry{Value: []byte("1")}},
	}
	for i := range 3000 {
		writes = append(writes, store.Write{Key: fmt.Sprintf("b/n%04d", i), Entry: store.Entry{Value: fmt.Appendf(nil, "%d", i)}})
	}
	for range 2 { // again: no harm
		if err := s.Apply(ctx, writes...); err != nil {
			t.Fatal(err)
		}
		want(t, s, "b/twice", "2")
		want(t, s, "b/back", "1")
		wantNone(t, s, "b/gone")
		want(t, s, "b/n0000", "0")
		want(t, s, "b/n2999", "2999")
	}
}

func testMany(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	var keys []string
	for i := range 1500 {
		keys = append(keys, fmt.Sprintf("m/%d", i))
		if i%3 != 0 {
			continue
		}
		put(t, s, keys[i], keys[i], time.Time{})
		if i > 60 {
			break
		}
	}
	for i := len(keys); i < 1500; i++ {
		keys = append(keys, fmt.Sprintf("m/%d", i))
	}
	put(t, s, "m/empty", "", time.Time{})
	keys = append(keys, "m/empty", "m/0")
	entries, err := s.Many(ctx, keys)
	if err != nil || len(entries) != len(keys) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, e := range entries {
		there := i < 64 && i%3 == 0 || keys[i] == "m/0"
		switch {
		case keys[i] == "m/empty":
			if e.Value == nil || len(e.Value) > 0 {
				t.Errorf("the empty value is %v", e.Value)
			}
		case there != (e.Value != nil), there && string(e.Value) != keys[i]:
			t.Errorf("%q: %q", keys[i], e.Value)
		}
	}
	if none, err := s.Many(ctx, nil); err != nil || len(none) != 0 {
		t.Errorf("many of none: %v, %v", none, err)
	}
}

func testList(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	const n = 2500
	var writes []store.Write
	wanted := map[string]bool{}
	for i := range n {
		key := fmt.Sprintf("key/%x", i*7919)
		wanted[key] = true
		writes = append(writes, store.Write{Key: key}, store.Write{Key: fmt.Sprintf("other/%d", i)})
	}
	if err := s.Apply(ctx, writes...); err != nil {
		t.Fatal(err)
	}
	got, pages := all(t, s, "key/", 200)
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if pages < 5 {
		t.Errorf("%d keys on %d pages of 200", n, pages)
	}
	if got, _ := all(t, s, "", 0); len(got) != 2*n {
		t.Errorf("everything: %d keys, want %d", len(got), 2*n)
	}
	if got, _ := all(t, s, "none/", 10); len(got) != 0 {
		t.Errorf("listed what is not there: %v", got)
	}
}

// A prefix is taken as it is written, and keys do not leak in from beside it.
func testListPrefix(t *testing.T, f Fixture) {
	for _, key := range []string{"a*b/1", "aXb/1", "a?c", "aXc", "a[x]", "ax", `a\d`, "ad", "a\xff", "a\xff\xff1", "b", "A"} {
		put(t, f.Store, key, "v", time.Time{})
	}
	for prefix, wanted := range map[string][]string{
		"a*b/":   {"a*b/1"},
		"a?":     {"a?c"},
		"a[x]":   {"a[x]"},
		`a\`:     {`a\d`},
		"a\xff":  {"a\xff", "a\xff\xff1"},
		"a*b/1":  {"a*b/1"},
		"a*b/11": nil,
	} {
		got, _ := all(t, f.Store, prefix, 3)
		set := map[string]bool{}
		for _, key := range wanted {
			set[key] = true
		}
		if diff := cmp.Diff(set, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", prefix, diff)
		}
	}
}

func testListCursor(t *testing.T, f Fixture) {
	put(t, f.Store, "k/1", "v", time.Time{})
	for _, cursor := range []string{"?", "ä", "-1", "x@y@z", strings.Repeat("9", 100), " ", "1 2"} {
		if page, err := f.Store.List(deadline(t), "k/", cursor, 10); !errors.Is(err, store.ErrCursor) {
			t.Errorf("%q: %v, %v", cursor, page, err)
		}
	}
}
