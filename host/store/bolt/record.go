package bolt

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// A record is an entry in the file: its end in milliseconds since 1970, big-endian, 0 for none; then the value.
const recordHead = 8

func appendRecord(b []byte, e store.Entry) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(millis(e.Expires)))
	return append(b, e.Value...)
}

// millis is a time as records have it: never 0 for one that is set, and rounded up, so that nothing ends early.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return max(1, ms)
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// parseRecord refers to the record's bytes.
func parseRecord(record []byte) (store.Entry, error) {
	if len(record) < recordHead {
		return store.Entry{}, fmt.Errorf("%w: a record of %d bytes", store.ErrCorrupt, len(record))
	}
	ms := binary.BigEndian.Uint64(record)
	if ms > math.MaxInt64 {
		return store.Entry{}, fmt.Errorf("%w: a record that ends in %d ms", store.ErrCorrupt, ms)
	}
	return store.Entry{Value: record[recordHead:], Expires: instant(int64(ms))}, nil
}
