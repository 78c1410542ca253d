// Package codec has the libraries of scripts that need nothing but their arguments: base64, hex and crypto.
package codec

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // scripts meet peers that sign with it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Libraries returns the functions of each library by its name. room raises an error when a string of n bytes is too long
// to be made.
func Libraries(room func(l *lua.LState, n int)) map[string]map[string]lua.LGFunction {
	return map[string]map[string]lua.LGFunction{
		"base64": {
			"encode":    encoder(room, base64.StdEncoding.EncodeToString),
			"decode":    decoder(func(s string) ([]byte, error) { return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "=")) }),
			"urlEncode": encoder(room, base64.RawURLEncoding.EncodeToString),
			"urlDecode": decoder(func(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")) }),
		},
		"hex":    {"encode": encoder(room, hex.EncodeToString), "decode": decoder(hex.DecodeString)},
		"crypto": cryptoFunctions(),
	}
}

func encoder(room func(*lua.LState, int), f func([]byte) string) lua.LGFunction {
	return func(l *lua.LState) int {
		data := l.CheckString(1)
		room(l, 2*len(data))
		l.Push(lua.LString(f([]byte(data))))
		return 1
	}
}

func decoder(f func(string) ([]byte, error)) lua.LGFunction {
	return func(l *lua.LState) int {
		b, err := f(l.CheckString(1))
		if err != nil {
			l.RaiseError("%s", err.Error())
		}
		l.Push(lua.LString(b))
		return 1
	}
}

func hashes(l *lua.LState, name string) func() hash.Hash {
	switch name {
	case "sha256":
		return sha256.New
	case "sha512":
		return sha512.New
	case "sha1":
		return sha1.New
	}
	l.RaiseError("unknown hash %q: want sha256, sha512 or sha1", name)
	return nil
}

// pushEncoded pushes bytes as argument n says.
func pushEncoded(l *lua.LState, b []byte, n int) int {
	switch encoding := l.OptString(n, "hex"); encoding {
	case "hex":
		l.Push(lua.LString(hex.EncodeToString(b)))
	case "base64":
		l.Push(lua.LString(base64.StdEncoding.EncodeToString(b)))
	case "bytes":
		l.Push(lua.LString(b))
	default:
		l.RaiseError("unknown encoding %q: want hex, base64 or bytes", encoding)
	}
	return 1
}

func cryptoFunctions() map[string]lua.LGFunction {
	all := map[string]lua.LGFunction{
		"hmac": func(l *lua.LState) int {
			mac := hmac.New(hashes(l, l.CheckString(1)), []byte(l.CheckString(2)))
			mac.Write([]byte(l.CheckString(3)))
			return pushEncoded(l, mac.Sum(nil), 4)
		},
		"equal": func(l *lua.LState) int {
			l.Push(lua.LBool(subtle.ConstantTimeCompare([]byte(l.CheckString(1)), []byte(l.CheckString(2))) == 1))
			return 1
		},
		"random": func(l *lua.LState) int {
			n := l.CheckInt(1)
			if n < 0 || n > 1024 {
				l.ArgError(1, "want 0 to 1024 bytes")
			}
			b := make([]byte, n)
			_, _ = rand.Read(b) // it never fails
			return pushEncoded(l, b, 2)
		},
		"uuid": func(l *lua.LState) int {
			var b [16]byte
			_, _ = rand.Read(b[:]) // it never fails
			b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
			l.Push(lua.LString(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])))
			return 1
		},
	}
	for _, name := range []string{"sha256", "sha512", "sha1"} {
		all[name] = func(l *lua.LState) int {
			h := hashes(l, name)()
			h.Write([]byte(l.CheckString(1)))
			return pushEncoded(l, h.Sum(nil), 2)
		}
	}
	return all
}
