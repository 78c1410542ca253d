package lua

import (
	"context"
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
	"math"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// define gives the scripts their globals.
func (m *machine) define() {
	m.defineExchange()
	i := m.state
	json := i.JSON()
	i.Define("exports", i.L.CreateTable(0, 1))
	i.Define("json", json)
	i.Define("cjson", json) // as Tyk's plugins know it
	i.Module("json", json)
	i.Module("cjson", json)
	i.Define("log", m.logger())
	i.Define("store", i.Library(m.storeFunctions()))
	i.Define("fetch", i.L.NewFunction(m.fetch))
	i.Define("now", i.L.NewFunction(func(l *lua.LState) int {
		l.Push(lua.LNumber(float64(time.Now().UnixMicro()) / 1e6))
		return 1
	}))
	i.Define("base64", i.Library(map[string]lua.LGFunction{
		"encode":    encoder(base64.StdEncoding.EncodeToString),
		"decode":    decoder(func(s string) ([]byte, error) { return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "=")) }),
		"urlEncode": encoder(base64.RawURLEncoding.EncodeToString),
		"urlDecode": decoder(func(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")) }),
	}))
	i.Define("hex", i.Library(map[string]lua.LGFunction{"encode": encoder(hex.EncodeToString), "decode": decoder(hex.DecodeString)}))
	i.Define("crypto", i.Library(cryptoFunctions()))
	if m.s.bridge != nil {
		i.Define("bridge", i.Library(m.s.bridge(m)))
	}
}

func encoder(f func([]byte) string) lua.LGFunction {
	return func(l *lua.LState) int { l.Push(lua.LString(f([]byte(l.CheckString(1))))); return 1 }
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

// seconds is argument n as a time; 0 for nothing.
func seconds(l *lua.LState, n int) time.Duration {
	f := float64(l.OptNumber(n, 0))
	if !(f >= 0) || f > math.MaxInt64/float64(time.Second) {
		l.ArgError(n, "want a number of seconds")
	}
	return time.Duration(f * float64(time.Second))
}

// stored does f with the plugin's store.
func (m *machine) stored(l *lua.LState, f func(ctx context.Context, s *script.Store) error) {
	s := m.s.p.Services.Store
	if s == nil || m.ctx == nil {
		l.RaiseError("store: %s", script.ErrNoService.Error())
	}
	if err := m.outside(func(ctx context.Context) error { return f(ctx, s) }); err != nil {
		l.RaiseError("store: %s", err.Error())
	}
}

func (m *machine) storeFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			v := lua.LValue(lua.LNil)
			m.stored(l, func(ctx context.Context, s *script.Store) error {
				data, ok, err := s.Get(ctx, l.CheckString(1))
				if ok {
					v = lua.LString(data)
				}
				return err
			})
			l.Push(v)
			return 1
		},
		"set": func(l *lua.LState) int {
			key, data, ttl := l.CheckString(1), l.CheckString(2), seconds(l, 3)
			m.stored(l, func(ctx context.Context, s *script.Store) error { return s.Set(ctx, key, []byte(data), ttl) })
			return 0
		},
		"setNew": func(l *lua.LState) int {
			key, data, ttl := l.CheckString(1), l.CheckString(2), seconds(l, 3)
			var wrote bool
			m.stored(l, func(ctx context.Context, s *script.Store) (err error) {
				wrote, err = s.SetNew(ctx, key, []byte(data), ttl)
				return err
			})
			l.Push(lua.LBool(wrote))
			return 1
		},
		"del": func(l *lua.LState) int {
			key := l.CheckString(1)
			m.stored(l, func(ctx context.Context, s *script.Store) error { return s.Delete(ctx, key) })
			return 0
		},
		"ttl": func(l *lua.LState) int {
			key, left := l.CheckString(1), -2.0
			m.stored(l, func(ctx context.Context, s *script.Store) error {
				d, ok, err := s.TTL(ctx, key)
				if ok {
					left = -1
					if d > 0 {
						left = d.Seconds()
					}
				}
				return err
			})
			l.Push(lua.LNumber(left))
			return 1
		},
		"incr": func(l *lua.LState) int {
			key, delta, ttl := l.CheckString(1), l.OptInt64(2, 1), seconds(l, 3)
			var sum int64
			m.stored(l, func(ctx context.Context, s *script.Store) (err error) {
				sum, err = s.Add(ctx, key, delta, ttl)
				return err
			})
			l.Push(lua.LNumber(sum))
			return 1
		},
	}
}

// fetched is the reply to a request of a script's.
type fetched struct {
	m      *machine
	status int
	header sdk.Header
	body   []byte
}

func replyOf(l *lua.LState) *fetched {
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		if r, ok := ud.Value.(*fetched); ok {
			return r
		}
	}
	l.RaiseError("this function belongs to a reply: call it with a colon")
	return nil
}

func replyFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{"text": readBody, "bytes": readBody, "json": readJSON}
}

func replyProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	r := replyOf(l)
	if v != nil {
		return nil, false
	}
	switch key {
	case "status":
		return lua.LNumber(r.status), true
	case "ok":
		return lua.LBool(r.status >= 200 && r.status < 300), true
	case "headers":
		return r.m.object(r, r.m.kinds.headers), true
	}
	return nil, false
}

func (m *machine) fetch(l *lua.LState) int {
	client := m.s.p.Services.HTTP
	if client == nil || m.ctx == nil {
		l.RaiseError("fetch: %s", script.ErrNoService.Error())
	}
	request := script.HTTPRequest{URL: l.CheckString(1)}
	if o := l.OptTable(2, nil); o != nil {
		request.Method = lua.LVAsString(o.RawGetString("method"))
		request.Body = []byte(lua.LVAsString(o.RawGetString("body")))
		l.Push(o.RawGetString("headers"))
		request.Header = fieldsOf(l, l.GetTop())
		l.Push(o.RawGetString("timeout"))
		request.Timeout = seconds(l, l.GetTop())
		l.Pop(2)
	}
	var by *sdk.Header
	if m.scope != nil {
		by = m.scope.x.Request().Header()
	}
	r := &fetched{m: m}
	err := m.outside(func(ctx context.Context) error {
		reply, err := client.Do(ctx, by, request)
		if err != nil {
			return err
		}
		r.status, r.body = reply.Status, reply.Body
		for _, f := range reply.Header {
			r.header.Append(f.Name, f.Value)
		}
		return nil
	})
	if err != nil {
		l.RaiseError("fetch: %s", err.Error())
	}
	l.Push(m.object(r, m.kinds.reply))
	return 1
}
