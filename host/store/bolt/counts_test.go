package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

// Counts live and end with the store.
func TestCounts(t *testing.T) {
	folder := t.TempDir()
	s, err := Open(t.Context(), folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	change := counts.Change{Name: counts.Name{Owner: "k", Scope: "s"}, Count: counts.Count{Used: 3, Begun: 1}}
	if err := s.Counts().Save(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Counts().Get(t.Context(), change.Name); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	again, err := Open(t.Context(), folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := again.Counts().Get(t.Context(), change.Name); err != nil || c != change.Count {
		t.Errorf("%+v, %v", c, err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A damaged file of counts is an error of the store, which holds nothing afterwards.
func TestDamagedCounts(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, CountsName)
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), folder, Options{}); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("%v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file of format 1 keeps its entries, and gets a number that programs of that format refuse.
func TestOlderFormat(t *testing.T) {
	folder := t.TempDir()
	db, err := bbolt.Open(filepath.Join(folder, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"entries", "counters", "turnbuckle"} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		record := appendRecord(nil, store.Entry{Value: []byte("v")})
		return errors.Join(tx.Bucket([]byte("entries")).Put([]byte("k"), record), tx.Bucket([]byte("turnbuckle")).Put([]byte("format"), []byte("1")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := Open(t.Context(), folder, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.Get(t.Context(), "k"); err != nil || string(e.Value) != "v" {
			t.Errorf("%q, %v", e.Value, err)
		}
		err = s.db.View(func(tx *bbolt.Tx) error {
			if got := string(tx.Bucket([]byte("turnbuckle")).Get([]byte("format"))); got != "2" {
				t.Errorf("format %s", got)
			}
			return nil
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
