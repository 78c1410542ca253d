package bolt

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Readers beside a writer never see an old state after the write returned, nor half of a batch; also when the file
// outgrows its map, which bbolt can only replace while no read transaction is open.
func TestReadersBesideWriter(t *testing.T) {
	for name, size := range map[string]int{"roomy map": 0, "tight map": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), t.TempDir(), Options{MapSize: size})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			write := func(n uint64) {
				t.Helper()
				var writes []store.Write
				for i := range 8 {
					value := make([]byte, 4000)
					binary.BigEndian.PutUint64(value, n)
					writes = append(writes, store.Write{Key: fmt.Sprint("k/", i), Entry: store.Entry{Value: value}})
				}
				writes = append(writes, store.Write{Key: fmt.Sprint("more/", n), Entry: store.Entry{Value: make([]byte, 20000)}})
				if err := s.Apply(t.Context(), writes...); err != nil {
					t.Error(err)
				}
			}
			write(0)
			done := make(chan struct{})
			var readers sync.WaitGroup
			for range 6 {
				readers.Go(func() {
					last := uint64(0)
					for {
						select {
						case <-done:
							return
						default:
						}
						entries, err := s.Many(t.Context(), []string{"k/0", "k/7"})
						if err != nil {
							t.Error(err)
							return
						}
						first, second := binary.BigEndian.Uint64(entries[0].Value), binary.BigEndian.Uint64(entries[1].Value)
						if first != second || first < last {
							t.Errorf("read %d and %d after %d", first, second, last)
							return
						}
						last = first
					}
				})
			}
			for n := uint64(1); n <= 60; n++ {
				write(n)
				if e, err := s.Get(t.Context(), "k/3"); err != nil || binary.BigEndian.Uint64(e.Value) != n {
					t.Fatalf("written %d, read %v", n, err)
				}
			}
			close(done)
			readers.Wait()
			if tight := s.readers.tight.Load(); tight != (size > 0) {
				t.Errorf("tight: %t", tight)
			}
		})
	}
}

// Reading keeps no old state: pages that a commit freed are used again.
func TestOldStatesEnd(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 300 {
		w := store.Write{Key: "k", Entry: store.Entry{Value: make([]byte, 3000)}}
		w.Value[0] = byte(i)
		if err := s.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	if size := s.size(); size > 256<<10 {
		t.Errorf("one entry written 300 times takes %d bytes", size)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendRecord(nil, store.Entry{Value: []byte("v")}))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xffv"))
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := parseRecord(record)
		if err != nil {
			return
		}
		if diff := cmp.Diff(record, appendRecord(nil, e)); diff != "" {
			t.Error(diff)
		}
	})
}
