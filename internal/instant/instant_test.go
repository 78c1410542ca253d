package instant

import (
	"testing"
	"time"
)

func FuzzAppend(f *testing.F) {
	for _, s := range []int64{0, 1, -62_167_219_200, 253_402_300_799, 1_700_000_000} {
		f.Add(s, int64(999_999_999))
	}
	f.Fuzz(func(t *testing.T, s, ns int64) {
		at := time.Unix(s, ns%1_000_000_000)
		if year := at.UTC().Year(); year < 0 || year > 9999 {
			return
		}
		want := at.UTC().Format("2006-01-02T15:04:05.000000Z")
		if got := string(Append([]byte("at "), at)); got != "at "+want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
