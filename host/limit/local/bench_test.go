package local_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
)

// A request of a caller of its own, of callers that share all, and under everything at once. Run it with -cpu 1,2,4,8.
func BenchmarkTake(b *testing.B) {
	const many = 100_000
	owners := make([]string, many)
	for i := range owners {
		owners[i] = "3f2a9c0d1e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978" + strconv.Itoa(i)
	}
	plenty := limit.Rate{Requests: 1e9, Per: time.Second}
	tests := []struct {
		name string
		ask  func(a *limit.Ask, i int)
	}{
		{"key rate", func(a *limit.Ask, i int) {
			a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: owners[i]}, Rate: plenty})
		}},
		{"key rate and quota", func(a *limit.Ask, i int) {
			a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: owners[i]}, Rate: plenty})
			a.Quotas = append(a.Quotas, limit.QuotaBucket{Key: limit.Key{Owner: owners[i]}, Max: 1 << 60, Renewal: time.Hour})
		}},
		{"key, key and API, API, quota", func(a *limit.Ask, i int) {
			a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: owners[i]}, Rate: plenty},
				limit.RateBucket{Key: limit.Key{Owner: owners[i], Scope: "weather"}, Rate: plenty},
				limit.RateBucket{Key: limit.Key{Owner: "weather"}, Rate: plenty})
			a.Quotas = append(a.Quotas, limit.QuotaBucket{Key: limit.Key{Owner: owners[i]}, Max: 1 << 60, Renewal: time.Hour})
		}},
		{"one API", func(a *limit.Ask, _ int) {
			a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: "weather"}, Rate: plenty})
		}},
	}
	for _, test := range tests {
		b.Run(test.name, func(b *testing.B) {
			l := local.Open(b.Context(), nil, local.Options{})
			var goroutines atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var a limit.Ask
				var v limit.Verdict
				for i := int(goroutines.Add(1)) * 7919; pb.Next(); i++ {
					a.Rates, a.Quotas = a.Rates[:0], a.Quotas[:0]
					test.ask(&a, i%1000)
					if err := l.Take(b.Context(), &a, &v); err != nil || !v.Passed() {
						b.Fatal(v, err)
					}
				}
			})
			b.StopTimer()
			if err := l.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
