// Package keyid makes tokens, and the ids that sessions are stored under (reference §9.2).
//
// A token is an organisation's id and a name, one after the other, or base64 of JSON that has both and the hash function;
// keys that came from elsewhere may be any text. An id is the token, or its hash in lower-case hex.
package keyid

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/murmur3"
)

// Function makes an id of a token.
type Function string

// The functions. Murmur3 is no cryptographic hash: who can choose tokens can choose two with the same id, and 32 bits
// can be guessed. It is for keys that were made with it.
const (
	SHA256    Function = "sha256"
	Murmur32  Function = "murmur32"
	Murmur64  Function = "murmur64"
	Murmur128 Function = "murmur128"
	Plain     Function = "plain" // the token itself
)

// ErrFunction says that there is no such function.
var ErrFunction = errors.New("must be one of sha256, murmur32, murmur64, murmur128, plain")

// UnmarshalText accepts the functions.
func (f *Function) UnmarshalText(text []byte) error {
	if g := Function(text); g.Known() {
		*f = g
		return nil
	}
	return fmt.Errorf("%q: %w", text, ErrFunction)
}

// Known reports whether it is one of the functions.
func (f Function) Known() bool {
	switch f {
	case SHA256, Murmur32, Murmur64, Murmur128, Plain:
		return true
	}
	return false
}

// ID is the token's id: 64, 8, 16 or 32 hexadecimal digits, or the token. A function that is not known is SHA256.
func (f Function) ID(token string) string {
	switch f {
	case Plain:
		return token
	case Murmur32:
		h := murmur3.StringSum32(token)
		return hex.EncodeToString([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)})
	case Murmur64:
		return fmt.Sprintf("%016x", murmur3.StringSum64(token))
	case Murmur128:
		high, low := murmur3.StringSum128(token)
		return fmt.Sprintf("%016x%016x", high, low)
	}
	sum := sha256.Sum256([]byte(token))
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	return string(digits[:])
}

// encodedPrefix is how base64 of `{"org":` begins, whatever the organisation.
const encodedPrefix = "eyJvcmciOi"

// Join makes a token of an organisation and a name.
func Join(org, name string) string { return org + name }

// Encode makes a token in the base64 form, which names the function its id is made with.
func Encode(org, name string, f Function) string {
	// By hand: which hash belongs to the token hangs on every byte of it.
	text := `{"org":` + quote(org) + `,"id":` + quote(name) + `,"h":` + quote(string(f)) + `}`
	return base64.StdEncoding.EncodeToString([]byte(text))
}

func quote(s string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return `""` // unreachable: a string has its JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Parts are what a token in the base64 form says of itself.
type Parts struct {
	Org, Name string
	Function  Function // may be one that is not known
}

// Decode takes a token in the base64 form apart; ok is false for every other token. It looks at no more than 4 KiB.
func Decode(token string) (p Parts, ok bool) {
	if !strings.HasPrefix(token, encodedPrefix) || len(token) > 4<<10 {
		return Parts{}, false
	}
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return Parts{}, false
	}
	var said struct {
		Org string `json:"org"`
		ID  string `json:"id"`
		H   string `json:"h"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return Parts{}, false
	}
	return Parts{Org: said.Org, Name: said.ID, Function: Function(said.H)}, true
}

// Random is a name that nobody can guess: 32 hexadecimal digits of the system's random numbers.
func Random() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}
