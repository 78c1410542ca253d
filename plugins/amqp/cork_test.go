package amqp

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// wire notes what is written to it, and how often.
type wire struct {
	net.Conn
	got    bytes.Buffer
	writes int
	err    error
}

func (w *wire) Write(p []byte) (int, error) {
	w.writes++
	if w.err != nil {
		return 0, w.err
	}
	return w.got.Write(p)
}

func TestCorked(t *testing.T) {
	w := &wire{}
	c := &corked{Conn: w}
	write := func(text string) {
		t.Helper()
		if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	is := func(want string, writes int) {
		t.Helper()
		if w.got.String() != want || w.writes != writes {
			t.Errorf("%q in %d writes, want %q in %d", w.got.String(), w.writes, want, writes)
		}
	}
	write("a")
	c.cork()
	write("b")
	write("c")
	is("a", 1)
	if err := c.uncork(); err != nil {
		t.Error(err)
	}
	is("abc", 2)
	write("d")
	is("abcd", 3)
	w.got.Reset()
	c.cork()
	for range mostCorked - 1 {
		write("x")
	}
	is("", 3)
	write("x")
	if w.got.Len() != mostCorked || w.writes != 4 {
		t.Errorf("%d bytes in %d writes", w.got.Len(), w.writes)
	}
	if err := c.uncork(); err != nil || w.writes != 4 {
		t.Errorf("nothing was left: %v, %d writes", err, w.writes)
	}
	w.err = errors.New("gone")
	c.cork()
	write("y")
	if err := c.uncork(); !errors.Is(err, w.err) {
		t.Errorf("got %v", err)
	}
}
