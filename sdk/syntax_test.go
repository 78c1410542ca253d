package sdk_test

import (
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Every byte, at every place of values that are looked at eight bytes at a time, with neighbours that carry and borrow.
func TestValidFieldValue(t *testing.T) {
	for c := range 256 {
		want := c >= ' ' && c != 0x7f || c == '\t'
		for _, filler := range []string{"x", "\t", " ", "\x7e", "\x80", "\xff"} {
			for length := 1; length <= 18; length++ {
				for at := range length {
					s := strings.Repeat(filler, at) + string([]byte{byte(c)}) + strings.Repeat(filler, length-at-1)
					if got := sdk.ValidFieldValue(s); got != want {
						t.Fatalf("%q: got %v", s, got)
					}
				}
			}
		}
	}
	if !sdk.ValidFieldValue("") {
		t.Error("an empty value")
	}
}

func TestValidRequestID(t *testing.T) {
	for c := range 256 {
		want := c > ' ' && c <= '~' && !strings.ContainsRune("\"\\,;%", rune(c))
		if got := sdk.ValidRequestID("a" + string([]byte{byte(c)})); got != want {
			t.Errorf("byte %#x: got %v", c, got)
		}
	}
	for s, want := range map[string]bool{"": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false} {
		if got := sdk.ValidRequestID(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func BenchmarkValidFieldValue(b *testing.B) {
	const value = "request-id=01a4c3d2-7b1e-7f00-8a3c-0123456789ab"
	for b.Loop() {
		if !sdk.ValidFieldValue(value) {
			b.Fatal(value)
		}
	}
}
