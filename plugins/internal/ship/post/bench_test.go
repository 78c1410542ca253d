package post

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
)

// BenchmarkEncode is what it takes to make a request's body of a batch; ns/record is what a request pays for it.
func BenchmarkEncode(b *testing.B) {
	const count = 500
	encoder, err := record.NewEncoder(record.Options{})
	if err != nil {
		b.Fatal(err)
	}
	items := make([]ship.Item, count)
	batch, random := shiptest.Batch(0, count), rand.New(rand.NewPCG(1, 2))
	for i := range items {
		r := &batch.Records[i]
		r.RequestID = fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
		r.Duration, r.Upstream = time.Duration(random.IntN(1e7)), time.Duration(random.IntN(1e7))
		r.Time = r.Time.Add(time.Duration(i) * 71 * time.Microsecond)
		items[i].Body = encoder.AppendRecord(nil, r)
	}
	for _, zip := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", zip), func(b *testing.B) {
			s, err := New(Options{URL: "http://127.0.0.1", Between: "\n", Gzip: zip})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.encode(items); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/record")
			b.ReportMetric(float64(s.body.Len())/count, "bytes/record")
		})
	}
}
