package redis

import (
	"slices"
	"strings"
	"testing"
)

// A notice that parses is what the keys give again; nothing else makes it panic, or take more than its size.
func FuzzNotice(f *testing.F) {
	s := &Store{origin: strings.Repeat("a", originSize)}
	for _, keys := range [][]string{nil, {"key/1"}, {"", "\x00\xff", strings.Repeat("k", 1000)}} {
		f.Add(string(s.notice(keys)))
	}
	f.Add("short")
	f.Add(strings.Repeat("a", originSize) + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Add(strings.Repeat("a", originSize) + "\x05abc")
	f.Fuzz(func(t *testing.T, text string) {
		origin, keys, err := parseNotice(text)
		if err != nil {
			return
		}
		again := (&Store{origin: origin}).notice(keys)
		origin2, keys2, err := parseNotice(string(again))
		if err != nil || origin2 != origin || !slices.Equal(keys, keys2) {
			t.Errorf("%q: %q %q, again %q %q %v", text, origin, keys, origin2, keys2, err)
		}
	})
}
