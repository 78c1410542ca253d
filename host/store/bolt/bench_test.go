package bolt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// session is about what a key with limits, one API and some metadata takes.
func session(i int) []byte {
	text, err := json.Marshal(map[string]any{
		"rate": 1000, "per": 60, "expires": 0, "quota_max": 100000, "quota_renewal_rate": 3600, "org_id": "default", "alias": fmt.Sprint("user-", i),
		"date_created": "2026-01-02T03:04:05Z", "last_updated": "1767323045", "meta_data": map[string]string{"plan": "gold", "customer": fmt.Sprint(i)},
		"access_rights": map[string]any{"api-1": map[string]any{"api_id": "api-1", "api_name": "orders", "versions": []string{"Default"}}},
	})
	if err != nil {
		panic(err)
	}
	return text
}

func keyHash(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }

func sessionKey(i int) string { return fmt.Sprintf("key/%016x%016x", keyHash(i), i) }

func benchStore(b *testing.B, keys int) *Store {
	b.Helper()
	s, err := Open(b.Context(), b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	s.db.NoSync = true
	order := make([]int, keys) // of their keys: at random, loading would take a minute
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(keyHash(a), keyHash(b)) })
	for part := range slices.Chunk(order, 10000) {
		var writes []store.Write
		for _, i := range part {
			writes = append(writes, store.Write{Key: sessionKey(i), Entry: store.Entry{Value: session(i)}, Quiet: true})
		}
		if err := s.Apply(b.Context(), writes...); err != nil {
			b.Fatal(err)
		}
	}
	s.db.NoSync = false
	if err := s.db.Sync(); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkGet reads sessions at random; run it with -cpu 1,2,4,8.
func BenchmarkGet(b *testing.B) {
	for _, keys := range []int{1000, 1000000} {
		s := benchStore(b, keys)
		b.Run(strconv.Itoa(keys), func(b *testing.B) {
			names := make([]string, keys)
			for i := range names {
				names[i] = sessionKey(i)
			}
			for _, name := range names { // a warm file: its pages are mapped when they are first touched
				if _, err := s.Get(b.Context(), name); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			began := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Get(b.Context(), names[rand.IntN(keys)]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
			reportMemory(b, s)
		})
	}
}

// cpuTime is what the process has used, which other processes on the machine do not change.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// reportMemory tells what the store takes: on the heap, and of the file what is mapped and touched.
func reportMemory(b *testing.B, s *Store) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(s.size())/(1<<20), "file-MiB")
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return // not Linux
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && (fields[0] == "RssFile:" || fields[0] == "RssAnon:") {
			if kib, err := strconv.Atoi(fields[1]); err == nil {
				b.ReportMetric(float64(kib)/1024, strings.TrimSuffix(fields[0], ":")+"-MiB")
			}
		}
	}
}

// BenchmarkApply writes one session per call, from several callers at once, which share commits.
func BenchmarkApply(b *testing.B) {
	for _, keys := range []int{1000, 1000000} {
		s := benchStore(b, keys)
		b.Run(strconv.Itoa(keys), func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := rand.IntN(keys)
					w := store.Write{Key: sessionKey(i), Entry: store.Entry{Value: session(rand.Int())}}
					if err := s.Apply(b.Context(), w); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
