package share

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// counted counts how many of it are open.
type counted struct{ open *atomic.Int32 }

func (c *counted) Close() error {
	c.open.Add(-1)
	return errors.New("closed")
}

// However many use a thing at once, there is one of each key, from the first use to the last.
func TestKeyed(t *testing.T) {
	var all Keyed[string, *counted]
	var open, made atomic.Int32
	get := func(key string) *Lease[string, *counted] {
		l, err := all.Get(key, func() (*counted, error) {
			made.Add(1)
			open.Add(1)
			return &counted{&open}, nil
		})
		if err != nil {
			t.Error(err)
		}
		return l
	}
	first := get("a")
	var users sync.WaitGroup
	for range 50 {
		users.Go(func() {
			l := get("a")
			if l.Identity() != first.Identity() || l.Value != first.Value {
				t.Error("another of the same key")
			}
			if err := errors.Join(l.Close(), l.Close()); err != nil {
				t.Errorf("not the last: %v", err)
			}
		})
	}
	users.Wait()
	other := get("b")
	if other.Identity() == first.Identity() || made.Load() != 2 || open.Load() != 2 {
		t.Errorf("%d made, %d open", made.Load(), open.Load())
	}
	all.Each(func(key string, v *counted, users int) {
		if users != 1 || v == nil {
			t.Errorf("%s has %d users", key, users)
		}
	})
	if first.Close() == nil || first.Close() != nil || other.Close() == nil || open.Load() != 0 {
		t.Errorf("%d are left open", open.Load())
	}
	if next := get("a"); next.Identity() == first.Identity() || made.Load() != 3 {
		t.Error("what was closed is used again")
	}
	refused := errors.New("refused")
	if _, err := all.Get("c", func() (*counted, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	get("c")
}
