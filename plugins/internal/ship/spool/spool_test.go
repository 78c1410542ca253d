package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func items(from, n, size int) []Item {
	var out []Item
	for i := from; i < from+n; i++ {
		out = append(out, Item{Seq: uint64(i), Key: fmt.Appendf(nil, "key%d", i%3), Body: append(fmt.Appendf(nil, "%d ", i), make([]byte, size)...)})
	}
	return out
}

func open(t *testing.T, dir string, size int64) *Spool {
	t.Helper()
	s, err := Open(Options{dir, size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func add(t *testing.T, s *Spool, all []Item) {
	t.Helper()
	if n, err := s.Append(all); n != len(all) || err != nil {
		t.Fatalf("%d of %d: %v", n, len(all), err)
	}
}

// drain reads and acknowledges everything, so many at a time.
func drain(t *testing.T, s *Spool, at int) []Item {
	t.Helper()
	var out []Item
	for {
		some, err := s.Read(at, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			return out
		}
		out = append(out, some...)
		if err := s.Ack(some[len(some)-1].Seq); err != nil {
			t.Fatal(err)
		}
	}
}

// What goes in comes out in order, over segments and restarts, and nothing is left on disk but lock and cursor.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	want := items(1, 3000, 200)
	s := open(t, dir, 64<<20)
	add(t, s, want[:1000])
	got, err := s.Read(10, 1<<30)
	if err != nil || len(got) != 10 {
		t.Fatal(len(got), err)
	}
	if err := s.Ack(7); err != nil { // not what was read last
		t.Fatal(err)
	}
	left := int64(0)
	for i := range want[7:1000] {
		left += int64(want[7+i].Size())
	}
	if s.Len() != 993 || s.Waiting() != left {
		t.Errorf("%d wait, %d bytes, want %d", s.Len(), s.Waiting(), left)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 64<<20)
	if s.Len() != 993 || s.Next() != 1001 {
		t.Fatalf("%d wait, next %d", s.Len(), s.Next())
	}
	add(t, s, want[1000:])
	if diff := cmp.Diff(want[7:], drain(t, s, 100)); diff != "" {
		t.Error(diff)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(files) > 0 || s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("left: %v, %d items, %d bytes", files, s.Len(), s.Bytes())
	}
	add(t, s, items(3001, 5, 1))
	if got := drain(t, s, 2); len(got) != 5 {
		t.Errorf("%d after it was empty", len(got))
	}
}

// Reading and writing take turns.
func TestTurns(t *testing.T) {
	s := open(t, t.TempDir(), 64<<20)
	next, seen := 1, uint64(0)
	for round := range 400 {
		add(t, s, items(next, 1+round%50, 700))
		next += 1 + round%50
		got, err := s.Read(1+round%47, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range got {
			if seen++; i.Seq != seen {
				t.Fatalf("got %d, want %d", i.Seq, seen)
			}
		}
		if err := s.Ack(seen); err != nil {
			t.Fatal(err)
		}
	}
	if rest := drain(t, s, 1000); int(seen)+len(rest) != next-1 {
		t.Errorf("%d and %d of %d", seen, len(rest), next-1)
	}
}

func TestReadBytes(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	add(t, s, items(1, 10, 1000))
	for _, test := range []struct{ bytes, want int }{{1, 1}, {2100, 2}, {1 << 20, 10}} {
		if got, err := s.Read(100, test.bytes); err != nil || len(got) != test.want {
			t.Errorf("%d bytes: %d items, want %d (%v)", test.bytes, len(got), test.want, err)
		}
	}
}

// Beyond the bound the oldest go, and are counted; what is read meanwhile may be acknowledged all the same.
func TestBound(t *testing.T) {
	const bound = 1 << 20
	s := open(t, t.TempDir(), bound)
	add(t, s, items(1, 500, 1000))
	under, err := s.Read(10, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for at := 501; at < 5001; at += 100 {
		add(t, s, items(at, 100, 1000))
		if s.Bytes() > bound+bound/segmentParts {
			t.Fatalf("%d bytes on disk", s.Bytes())
		}
	}
	if err := s.Ack(under[9].Seq); err != nil {
		t.Fatal(err)
	}
	dropped := s.Lost().Dropped
	rest := drain(t, s, 77)
	if uint64(len(rest))+dropped != 5000 || rest[0].Seq != dropped+1 || rest[len(rest)-1].Seq != 5000 {
		t.Errorf("dropped %d, left %d from %d to %d", dropped, len(rest), rest[0].Seq, rest[len(rest)-1].Seq)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	if _, err := Open(Options{dir, 1 << 20}); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, 1<<20)
}

// copied is the folder as a process that died at this moment leaves it.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func only(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	if len(files) != 1 {
		t.Fatalf("segments: %v", files)
	}
	return files[0]
}

// A crash may tear the last frame, wherever: all before it is there, and what comes later goes behind it.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	want := items(1, 3, 20)
	add(t, s, want)
	whole, err := os.ReadFile(only(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	last := len(whole) - want[2].Size()
	for cut := range len(whole) {
		died := copied(t, dir)
		if err := os.WriteFile(only(t, died), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, died, 1<<20)
		n := int(s.Next()) - 1
		if cut >= last && n != 2 {
			t.Errorf("cut at %d: %d items", cut, n)
		}
		add(t, s, []Item{{Seq: s.Next(), Body: []byte("new")}})
		got := drain(t, s, 10)
		if len(got) != n+1 || string(got[n].Body) != "new" {
			t.Fatalf("cut at %d: %d items of %d", cut, len(got), n+1)
		}
		for i := range n {
			if !bytes.Equal(got[i].Body, want[i].Body) {
				t.Errorf("cut at %d: item %d is %q", cut, i, got[i].Body)
			}
		}
		if lost := s.Lost(); lost.Corrupt != 0 {
			t.Errorf("cut at %d: %+v", cut, lost)
		}
	}
}

// Any byte may be wrong: what is read is what was written, in order, and the rest goes on.
func TestCorrupt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	want := items(1, 4, 10)
	add(t, s, want)
	whole, err := os.ReadFile(only(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		died := copied(t, dir)
		wrong := bytes.Clone(whole)
		wrong[at] ^= 0x10
		if err := os.WriteFile(only(t, died), wrong, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, died, 1<<20)
		add(t, s, []Item{{Seq: s.Next(), Body: []byte("new")}})
		got := drain(t, s, 10)
		if string(got[len(got)-1].Body) != "new" {
			t.Fatalf("byte %d: the new item is %q", at, got[len(got)-1].Body)
		}
		for i := range got[:len(got)-1] {
			if !bytes.Equal(got[i].Body, want[i].Body) {
				t.Errorf("byte %d: item %d is %q", at, i, got[i].Body)
			}
		}
	}
	// Wrong under a spool that is open.
	whole[len(whole)-1] ^= 1
	if err := os.WriteFile(only(t, dir), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s, 10); len(got) != 3 || s.Lost() != (Lost{Dropped: 1, Corrupt: 1}) {
		t.Errorf("%d items, lost %+v", len(got), s.Lost())
	}
	add(t, s, items(5, 1, 1))
	if got := drain(t, s, 10); len(got) != 1 {
		t.Errorf("%d items behind it", len(got))
	}
}

// What cannot be read for the moment, for want of a descriptor or of rights, is not lost.
func TestCannotRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	add(t, s, items(1, 5, 10))
	file := only(t, dir)
	if err := errors.Join(os.Rename(file, file+".away"), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(10, 1<<20); err == nil || len(got) > 0 {
		t.Fatalf("%d items, %v", len(got), err)
	}
	if err := errors.Join(os.Remove(file), os.Rename(file+".away", file)); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s, 10); len(got) != 5 || s.Lost() != (Lost{}) {
		t.Errorf("%d items, lost %+v", len(got), s.Lost())
	}
}

// behindDelivered leaves a spool with 4 items, from 21 on, behind 20 that were delivered.
func behindDelivered(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir, 1<<20)
	add(t, s, items(1, 20, 10))
	drain(t, s, 10)
	add(t, s, items(21, 4, 10))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// The first item behind those that are delivered and gone is there after a restart, too.
func TestBehindDelivered(t *testing.T) {
	dir := t.TempDir()
	behindDelivered(t, dir)
	s := open(t, dir, 1<<20)
	if got := drain(t, s, 10); len(got) != 4 || got[0].Seq != 21 {
		t.Errorf("%d items, the first is %d", len(got), got[0].Seq)
	}
}

// A header that says another number than the file's name loses nothing: not as delivered long ago, either.
func TestWrongBase(t *testing.T) {
	dir := t.TempDir()
	behindDelivered(t, dir)
	file := only(t, dir)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[segmentHeader-1] ^= 0x10 // 21 becomes 5
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, 1<<20)
	if got := drain(t, s, 10); len(got) != 4 || got[0].Seq != 21 || s.Lost() != (Lost{Corrupt: 1}) {
		t.Errorf("%d items, lost %+v", len(got), s.Lost())
	}
	if s.Next() != 25 {
		t.Errorf("next is %d", s.Next())
	}
}

// A disk that takes no more leaves what was there as it was.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	add(t, s, items(1, 2, 10))
	if err := s.out.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Append(items(3, 1, 10)); err == nil || n != 0 {
		t.Fatalf("%d, %v", n, err)
	}
	if got, err := s.Read(10, 1<<20); err != nil || len(got) != 2 {
		t.Errorf("%d items, %v", len(got), err)
	}
	if n, err := s.Append([]Item{{Seq: 3, Key: make([]byte, maxKey+1)}}); err == nil || n != 0 {
		t.Errorf("an item too large: %d, %v", n, err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, &Item{Key: []byte("k"), Body: []byte("body")}))
	f.Add(appendFrame(nil, &Item{}))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x00\x09"))
	f.Fuzz(func(t *testing.T, b []byte) {
		item, size, err := parseFrame(b)
		if err != nil {
			return
		}
		if again := appendFrame(nil, &item); !bytes.Equal(again, b[:size]) {
			t.Errorf("%x is %x again", b[:size], again)
		}
	})
}

// FuzzRecover opens whatever stands in a folder: it takes what comes after, and gives it back last.
func FuzzRecover(f *testing.F) {
	segment := appendHeader(nil, 1)
	for _, i := range items(1, 3, 5) {
		segment = appendFrame(segment, &i)
	}
	f.Add(segment, []byte{})
	f.Add(segment[:len(segment)-3], []byte("cursor"))
	f.Add(appendHeader(nil, 1<<63), []byte{})
	f.Fuzz(func(t *testing.T, segment, cursor []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"00000000000000000001.seg": segment, "cursor": cursor} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(Options{dir, 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		waited := s.Len()
		if n, err := s.Append([]Item{{Seq: s.Next(), Body: []byte("new")}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		all, err := s.Read(1<<20, 1<<30)
		if err != nil || len(all) != waited+1 || string(all[waited].Body) != "new" {
			t.Fatalf("%d items where %d waited, %v", len(all), waited, err)
		}
	})
}
