package load

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are less than 1 % wide. The zero value is empty; one goroutine at a time.
type histogram struct {
	count   int64
	buckets [48 << subBits]int64
}

// Each power of two is split in 128.
const subBits = 7

func (h *histogram) record(d time.Duration) {
	h.count++
	h.buckets[bucketOf(d)]++
}

func bucketOf(d time.Duration) int {
	v := uint64(max(0, d))
	shift := max(0, bits.Len64(v)-subBits-1)
	return min(shift<<subBits+int(v>>shift), len(histogram{}.buckets)-1)
}

// lowest is the smallest duration in a bucket.
func lowest(bucket int) time.Duration {
	if bucket < 2<<subBits {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	return time.Duration(bucket-shift<<subBits) << shift
}

func (h *histogram) add(other *histogram) {
	h.count += other.count
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
}

// quantile returns the duration that a share q of those recorded do not exceed, to within a bucket.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.count)))
	for i, n := range h.buckets {
		if rank -= n; rank <= 0 && n > 0 {
			return lowest(i)
		}
	}
	return 0
}
