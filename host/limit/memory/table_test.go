package memory_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

type value struct{ n atomic.Int64 }

func key(i int) limit.Key {
	return limit.Key{Owner: strconv.Itoa(i / 3), Scope: strconv.Itoa(i % 3)}
}

func TestTable(t *testing.T) {
	const many = 30_000
	table := memory.NewTable[value]()
	for i := range many {
		v := table.Put(table.Hash(key(i)), key(i), nil, func(v *value) { v.n.Store(int64(i)) })
		if again := table.Put(table.Hash(key(i)), key(i), nil, func(*value) { t.Error("filled again") }); again != v {
			t.Fatal("another value under the same key")
		}
	}
	for i := range many {
		if v := table.Get(table.Hash(key(i)), key(i)); v == nil || v.n.Load() != int64(i) {
			t.Fatalf("key %d: %v", i, v)
		}
	}
	old := table.Get(table.Hash(key(7)), key(7))
	if v := table.Put(table.Hash(key(7)), key(7), old, func(v *value) { v.n.Store(-7) }); v.n.Load() != -7 || table.Len() != many {
		t.Errorf("replaced: %d of %d", v.n.Load(), table.Len())
	}
	table.DropOwner("2", func(k limit.Key, v *value) bool { return k.Scope != "1" })
	if table.Get(table.Hash(key(6)), key(6)) != nil || table.Get(table.Hash(key(7)), key(7)) == nil || table.Len() != many-2 {
		t.Errorf("dropping an owner's left %d", table.Len())
	}
	table.Drop(table.Hash(key(7)), key(7), func(*value) bool { return true })
	seen := 0
	table.Filter(func(limit.Key, *value) bool { seen++; return false })
	if seen != many-3 || seen != table.Len() {
		t.Errorf("%d seen of %d", seen, table.Len())
	}
	// Sweeping comes to every one, a part at a time, and gives the room back.
	most := 0
	for range 400 {
		n := 0
		table.Sweep(func(limit.Key, *value) bool { n++; return true })
		most = max(most, n)
	}
	if table.Len() != 0 || most > many/8 {
		t.Errorf("%d left, at most %d at once", table.Len(), most)
	}
}

// Counting goes on while buckets are replaced, dropped and swept: whoever counts in a sealed one looks again, and
// nothing is lost.
func TestTableConcurrently(t *testing.T) {
	const each, keys = 5_000, 200
	table := memory.NewTable[value]()
	var lost, counted atomic.Int64 // lost is what was in buckets that were sealed
	const gone = -1 << 40
	seal := func(v *value) bool { lost.Add(v.n.Swap(gone)); return true }
	var counting, churning sync.WaitGroup
	done := make(chan struct{})
	for g := range 4 {
		counting.Go(func() {
			for i := range each {
				k := key((i*31 + g) % keys)
				h := table.Hash(k)
				for {
					v := table.Get(h, k)
					if v == nil {
						v = table.Put(h, k, nil, func(*value) {})
					}
					if n := v.n.Load(); n >= 0 && v.n.CompareAndSwap(n, n+1) {
						counted.Add(1)
						break
					}
				}
			}
		})
	}
	churning.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			k := key(i % keys)
			switch i % 4 {
			case 0:
				table.Drop(table.Hash(k), k, seal)
			case 1:
				table.DropOwner(k.Owner, func(_ limit.Key, v *value) bool { return seal(v) })
			case 2:
				old := table.Get(table.Hash(k), k)
				if old != nil {
					table.Put(table.Hash(k), k, old, func(v *value) { v.n.Store(max(0, old.n.Swap(gone))) })
				}
			case 3:
				table.Put(table.Hash(key(keys+i)), key(keys+i), nil, func(*value) {}) // resize
				if i%64 == 3 {
					table.Sweep(func(_ limit.Key, v *value) bool { return v.n.CompareAndSwap(0, gone) })
				}
			}
		}
	})
	counting.Wait()
	close(done)
	churning.Wait()
	left := int64(0)
	table.Filter(func(_ limit.Key, v *value) bool { left += v.n.Load(); return false })
	if counted.Load() != 4*each || left+lost.Load() != counted.Load() {
		t.Errorf("counted %d; %d left and %d taken out", counted.Load(), left, lost.Load())
	}
}
