package share

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// A part is opened once, by whoever wants it first, and closed by the last, before what it stands on.
func TestPart(t *testing.T) {
	var log []string
	part := func(name string, below ...Held) *Part[string] {
		return New(func() (string, Close, error) {
			log = append(log, "open "+name)
			return name, func(context.Context) error { log = append(log, "close "+name); return nil }, nil
		}, below...)
	}
	floor := part("floor")
	table := part("table", floor.Take())
	unused := part("unused", floor.Take())
	for range 2 {
		if v, err := table.Get(); v != "table" || err != nil {
			t.Fatal(v, err)
		}
	}
	if _, opened := floor.Opened(); opened {
		t.Error("opened unasked")
	}
	if _, err := floor.Get(); err != nil {
		t.Fatal(err)
	}
	again := table.Take()
	for _, p := range []Held{floor, table, unused} {
		if err := p.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(log, "close floor") {
		t.Errorf("closed under those who use it: %v", log)
	}
	if err := again.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"open table", "open floor", "close table", "close floor"}; !slices.Equal(log, want) {
		t.Errorf("got %v, want %v", log, want)
	}
	if _, err := table.Get(); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// What failed to open is tried again; why it did not close is told.
func TestPartFails(t *testing.T) {
	errOpen, errClose := errors.New("open"), errors.New("close")
	fail := errOpen
	p := New(func() (int, Close, error) { return 1, func(context.Context) error { return errClose }, fail })
	if _, err := p.Get(); !errors.Is(err, errOpen) {
		t.Errorf("got %v", err)
	}
	fail = nil
	if v, err := p.Get(); v != 1 || err != nil {
		t.Errorf("got %v %v", v, err)
	}
	if err := p.Release(t.Context()); !errors.Is(err, errClose) {
		t.Errorf("got %v", err)
	}
}
