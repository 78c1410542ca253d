package identity

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// benchKeys makes n keys in a store of its own and returns their tokens.
func benchKeys(b *testing.B, n int, options Options) (*Keys, []string) {
	b.Helper()
	s, err := bolt.Open(context.Background(), b.TempDir(), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	policies := OpenPolicies(s)
	k, err := Open(context.Background(), s, policies, options)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			b.Error(err)
		}
		policies.Close()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	stored := mustStore(b, mustDecode(b, plainSession))
	tokens := make([]string, n)
	writes := make([]store.Write, n)
	for i := range tokens {
		tokens[i] = k.Token("default", fmt.Sprintf("%032x", i))
		writes[i] = store.Write{Key: keyPrefix + k.ID(tokens[i]), Entry: store.Entry{Value: stored}}
	}
	slices.SortFunc(writes, func(a, b store.Write) int { return strings.Compare(a.Key, b.Key) }) // a B+tree fills fastest so
	for batch := range slices.Chunk(writes, 50_000) {
		if err := s.Apply(context.Background(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	return k, tokens
}

// BenchmarkLookup draws keys at random; with 1,000 all are in memory, with 1,000,000 few are unless there is room.
func BenchmarkLookup(b *testing.B) {
	for _, test := range []struct {
		name    string
		keys    int
		options Options
	}{
		{"1000", 1000, Options{}},
		{"1000000", 1_000_000, Options{}},
		{"1000000_cached", 1_000_000, Options{Cached: 1 << 20, CachedBytes: 16 << 30}},
	} {
		if testing.Short() && test.keys > 1000 {
			continue
		}
		// The keys are made once, and not again for every attempt at a length of the run.
		b.Run(test.name, func(b *testing.B) {
			k, tokens := benchKeys(b, test.keys, test.options)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for _, token := range tokens {
				if _, err := k.Lookup(b.Context(), "default", token); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.Run("uniform", func(b *testing.B) {
				var seed atomic.Uint64
				b.ReportAllocs()
				began := cpu(b)
				b.RunParallel(func(pb *testing.PB) {
					ctx, draw := b.Context(), rand.New(rand.NewPCG(seed.Add(1), 0))
					for pb.Next() {
						if _, err := k.Lookup(ctx, "default", tokens[draw.IntN(len(tokens))]); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
			})
		})
	}
}

// cpu is what the process has used, which tells more than the clock where others use the machine too.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLookupOneKey(b *testing.B) {
	k, tokens := benchKeys(b, 1, Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := b.Context()
		for pb.Next() {
			if _, err := k.Lookup(ctx, "default", tokens[0]); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkAdopt(b *testing.B) {
	k, _ := benchKeys(b, 0, Options{})
	hook := &sdk.Session{
		Rate: 10, Per: 1, Alias: "anna", Tags: []string{"a"}, Metadata: map[string]string{"token": "t-1", "plan": "gold"},
		AccessRights: map[string]sdk.AccessDefinition{"a": {APIID: "a", Versions: []string{"Default"}}},
	}
	for _, test := range []struct {
		name   string
		store  bool
		change bool
	}{{"same", true, false}, {"changed", true, true}, {"not stored", false, false}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if test.change {
					hook.LastUpdated = time.Now().String()
				}
				if _, err := k.Adopt(b.Context(), Adoption{Org: "default", Token: "t-1", Hook: hook, Store: test.store}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLimits(b *testing.B) {
	k, tokens := benchKeys(b, 1, Options{})
	c, err := k.Lookup(b.Context(), "default", tokens[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if c.Limits("orders").Rate != 100 {
			b.Fatal("no rate")
		}
	}
}
