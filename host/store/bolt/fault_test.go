package bolt_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

func TestLocked(t *testing.T) {
	folder := t.TempDir()
	process, lines := start(t, "hold", folder)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatal(lines.Text())
	}
	_, err := bolt.Open(t.Context(), folder, bolt.Options{LockWait: time.Millisecond})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(process.Pid)+" ") {
		t.Fatalf("%v: does not name process %d", err, process.Pid)
	}
	for _, word := range []string{filepath.Join(folder, bolt.FileName), "stop it"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v: does not say %q", err, word)
		}
	}
	// Killed, it holds nothing, whatever it left behind; and waiting for it is enough.
	opened := make(chan error)
	go func() {
		s, err := bolt.Open(t.Context(), folder, bolt.Options{LockWait: 30 * time.Second})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// Two gateways by mistake in one process are two all the same.
func TestLockedBySelf(t *testing.T) {
	folder := t.TempDir()
	open(t, folder, bolt.Options{})
	_, err := bolt.Open(t.Context(), folder, bolt.Options{LockWait: time.Millisecond})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Error(err)
	}
}

func filled(t *testing.T) (folder, path string) {
	folder = t.TempDir()
	s, err := bolt.Open(t.Context(), folder, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // more than one state, more than one page
		var writes []store.Write
		for j := range 100 {
			writes = append(writes, numbered(100*i+j))
		}
		if err := s.Apply(t.Context(), writes...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return folder, filepath.Join(folder, bolt.FileName)
}

func TestDamagedFile(t *testing.T) {
	tests := map[string]func(path string) error{
		"text":      func(path string) error { return os.WriteFile(path, []byte("not a store, but somebody's notes"), 0o600) },
		"long text": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("notes\n", 5000)), 0o600) },
		"zeros":     func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"cut off":   func(path string) error { return os.Truncate(path, 9*4096) },
		"first":     func(path string) error { return os.Truncate(path, 4096) },
		"metas": func(path string) error {
			return overwrite(path, 0, strings.Repeat("x", 2*4096))
		},
		"someone else's": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
			return errors.Join(err, db.Close())
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			folder, path := filled(t)
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			s, err := bolt.Open(t.Context(), folder, bolt.Options{LockWait: time.Millisecond})
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "put a copy") {
				t.Errorf("%v: want that it is damaged, where, and what to do", err)
			}
		})
	}
}

func overwrite(path string, at int64, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), at)
	return errors.Join(err, f.Close())
}

// A disk that loses blocks under the running gateway gives errors, not the end of the process.
func TestDamagedMeanwhile(t *testing.T) {
	for name, damage := range map[string]func(path string, size int64) error{
		"garbage": func(path string, size int64) error {
			return overwrite(path, 2*4096, strings.Repeat("\xff", int(size)-2*4096))
		},
		"cut off": func(path string, _ int64) error { return os.Truncate(path, 2*4096) },
	} {
		t.Run(name, func(t *testing.T) {
			folder, path := filled(t)
			s, err := bolt.Open(t.Context(), folder, bolt.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() // its error is the damage again
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(path, info.Size()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), numbered(7).Key); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("get: %v", err)
			}
			if _, err := s.List(t.Context(), "key/", "", 10); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("list: %v", err)
			}
			if err := s.Apply(t.Context(), numbered(5000)); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("apply: %v", err)
			}
			if s.Status().Err == nil {
				t.Error("its status is fine")
			}
		})
	}
}

func TestNewerFormat(t *testing.T) {
	folder, path := filled(t)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("turnbuckle")).Put([]byte("format"), []byte("3")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(t.Context(), folder, bolt.Options{}); err == nil || !strings.Contains(err.Error(), "format 3") {
		t.Error(err)
	}
}

// fill writes until it fails, and returns how many writes were acknowledged.
func fill(t *testing.T, s *bolt.Store, from int) (acked int, err error) {
	for i := from; ; i++ {
		w := numbered(i)
		w.Value = []byte(strings.Repeat(string(w.Value), 10))
		if err := s.Apply(t.Context(), w); err != nil {
			return i, err
		}
		if i-from > 200000 {
			t.Fatal("the disk does not fill")
		}
	}
}

// The same where nothing can be mounted: the child may not let a file grow beyond 17 MiB.
func TestFileLimit(t *testing.T) {
	folder := t.TempDir()
	filled, err := bolt.Open(t.Context(), folder, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	large := store.Entry{Value: make([]byte, 1<<20)}
	for i := range 14 {
		if err := filled.Apply(t.Context(), store.Write{Key: fmt.Sprint("large/", i), Entry: large}); err != nil {
			t.Fatal(err)
		}
	}
	if err := filled.Close(); err != nil {
		t.Fatal(err)
	}
	process, lines := start(t, "limited:"+strconv.Itoa(17<<20), folder)
	acked, failed := 0, 0
	for failed < 4 && lines.Scan() { // one of each writer
		switch text := lines.Text(); {
		case strings.HasPrefix(text, "ack "):
			acked++
		case strings.Contains(text, store.ErrFull.Error()):
			failed++
		case text != "open":
			t.Fatal(text)
		}
	}
	if failed < 4 {
		t.Fatalf("%d writers of 4 were told that it is full", failed)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	process.Wait()
	s := open(t, folder, bolt.Options{})
	page, err := s.List(t.Context(), "key/", "", 1<<20)
	if err != nil || len(page.Keys) < acked {
		t.Errorf("%d of %d acknowledged are there, %v", len(page.Keys), acked, err)
	}
	if _, err := s.Get(t.Context(), "large/13"); err != nil {
		t.Error(err)
	}
}
