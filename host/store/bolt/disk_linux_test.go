package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a small disk: %v; TestFileLimit stands in", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(t.Context(), filepath.Join(disk, "data"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	acked, err := fill(t, s, 0)
	if !errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("full: %v", err)
	}
	status := s.Status()
	if !errors.Is(status.Err, store.ErrFull) {
		t.Errorf("its status is %v", status.Err)
	}
	used := counts.Change{Name: counts.Name{Owner: "k"}, Count: counts.Count{Used: 1}}
	for i := range 1 << 16 { // there may be a page left
		used.Scope = strconv.Itoa(i)
		if err = s.Counts().Save(t.Context(), used); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("counts: %v", err)
	}
	check := func(s *bolt.Store, upTo int) {
		t.Helper()
		for i := range upTo {
			if _, err := s.Get(t.Context(), numbered(i).Key); err != nil {
				t.Fatalf("acknowledged %d of %d is lost: %v", i, upTo, err)
			}
		}
	}
	check(s, acked)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for late := time.After(10 * time.Second); status.Err != nil; { // nobody writes: it finds out by itself
		select {
		case <-status.Next:
			status = s.Status()
		case <-late:
			t.Fatal("it does not notice that there is room")
		}
	}
	if err := s.Counts().Save(t.Context(), used); err != nil {
		t.Errorf("counts, after there was room: %v", err)
	}
	more, err := fill(t, s, acked)
	if more == acked {
		t.Errorf("nothing was written after there was room: %v", err)
	}
	check(s, more)
	if err := s.Close(); err != nil && !errors.Is(err, store.ErrFull) {
		t.Error(err)
	}
	check(open(t, filepath.Join(disk, "data"), bolt.Options{}), more)
}
