package exact

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// BenchmarkTake is a request under three rates and two quotas of three owners, beside a bare PING.
func BenchmarkTake(b *testing.B) {
	c := redis.NewClient(&redis.Options{Addr: redistest.Start(b).Addr, ContextTimeoutEnabled: true})
	defer c.Close()
	b.Run("take", func(b *testing.B) {
		l, a := New(c, Options{}), everything("k")
		for i := range a.Rates {
			a.Rates[i].Rate = limit.Rate{Requests: 1e9, Per: time.Second}
		}
		a.Quotas[0].Max, a.Quotas[1].Max = 1<<50, 1<<50
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var v limit.Verdict
			for pb.Next() {
				if err := l.Take(b.Context(), a, &v); err != nil || !v.Passed() {
					b.Fatal(v, err)
				}
			}
		})
	})
	b.Run("ping", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := c.Ping(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
