package keyid

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The hashes are those of the reference implementations: FIPS 180-4 for SHA-256, SMHasher's MurmurHash3_x86_32 and
// MurmurHash3_x64_128 with seed 0, whose first half is the 64-bit variant.
func TestID(t *testing.T) {
	const fox = "The quick brown fox jumps over the lazy dog"
	tests := []struct {
		f           Function
		token, want string
	}{
		{Plain, "abc", "abc"},
		{SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{Murmur32, "", "00000000"},
		{Murmur32, fox, "2e4ff723"},
		{Murmur64, fox, "e34bbc7bbc071b6c"},
		{Murmur128, fox, "e34bbc7bbc071b6c7a433ca9c49a9347"},
		{Murmur128, "", "00000000000000000000000000000000"},
		{"unknown", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	}
	for _, test := range tests {
		if got := test.f.ID(test.token); got != test.want {
			t.Errorf("%s of %q: %q, want %q", test.f, test.token, got, test.want)
		}
	}
}

func TestEncode(t *testing.T) {
	token := Encode("53ac07777cbb8c2d53000002", "anna", Murmur64)
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"org":"53ac07777cbb8c2d53000002","id":"anna","h":"murmur64"}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	p, ok := Decode(token)
	if want := (Parts{"53ac07777cbb8c2d53000002", "anna", Murmur64}); !ok || p != want {
		t.Errorf("decoded %+v, %v", p, ok)
	}
	odd := Encode(`o"r`, "<\n>&", SHA256)
	if p, ok := Decode(odd); !ok || p.Org != `o"r` || p.Name != "<\n>&" {
		t.Errorf("decoded %+v, %v", p, ok)
	}
}

func TestDecodeOthers(t *testing.T) {
	for _, token := range []string{
		"", "abc", encodedPrefix, encodedPrefix + "!", encodedPrefix + "AAAA", encodedPrefix + strings.Repeat("A", 8<<10),
		base64.StdEncoding.EncodeToString([]byte(`{"org":1}`)),
	} {
		if p, ok := Decode(token); ok {
			t.Errorf("%.20q: %+v", token, p)
		}
	}
}

func TestRandom(t *testing.T) {
	a, b := Random(), Random()
	if len(a) != 32 || a == b || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("%q, %q", a, b)
	}
}

func TestUnmarshalText(t *testing.T) {
	var f Function
	if err := f.UnmarshalText([]byte("murmur128")); err != nil || f != Murmur128 {
		t.Errorf("%q, %v", f, err)
	}
	if err := f.UnmarshalText([]byte("md5")); !errors.Is(err, ErrFunction) {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode("org", "name", SHA256))
	f.Add(encodedPrefix + "e30=")
	f.Fuzz(func(t *testing.T, token string) {
		p, ok := Decode(token)
		if !ok {
			return
		}
		if again, ok := Decode(Encode(p.Org, p.Name, p.Function)); !ok || again != p {
			t.Errorf("%+v became %+v", p, again)
		}
	})
}

func BenchmarkID(b *testing.B) {
	token := Join("53ac07777cbb8c2d53000002", Random())
	for _, f := range []Function{SHA256, Murmur32, Murmur64, Murmur128} {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.ID(token)
			}
		})
	}
}
