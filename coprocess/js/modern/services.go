package modern

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // scripts have to check what others made with it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxRandom is how many random bytes there are at a time.
const maxRandom = 1024

func (s *state) now(goja.FunctionCall) goja.Value {
	return s.vm.JS.ToValue(float64(time.Now().UnixMicro()) / 1e6)
}

// store makes the global of that name.
func (s *state) store() *goja.Object {
	with := func(f func(ctx context.Context, store *script.Store, key string, c goja.FunctionCall) (any, error)) func(goja.FunctionCall) goja.Value {
		return func(c goja.FunctionCall) goja.Value {
			store, key := s.vm.Plugin().Services.Store, engine.Bytes(c.Argument(0))
			if store == nil {
				s.vm.Fail(fmt.Errorf("store: %w", script.ErrNoService))
			}
			var out any
			s.vm.Outside(func(ctx context.Context) (err error) {
				out, err = f(ctx, store, key, c)
				return err
			})
			if text, ok := out.(string); ok {
				return s.vm.Text(text)
			}
			if out == nil {
				return goja.Undefined()
			}
			return s.vm.JS.ToValue(out)
		}
	}
	return s.object(map[string]func(goja.FunctionCall) goja.Value{
		"get": with(func(ctx context.Context, store *script.Store, key string, _ goja.FunctionCall) (any, error) {
			value, ok, err := store.Get(ctx, key)
			if !ok {
				return nil, err
			}
			return string(value), err
		}),
		"set": with(func(ctx context.Context, store *script.Store, key string, c goja.FunctionCall) (any, error) {
			return nil, store.Set(ctx, key, s.vm.Data(c.Argument(1)), seconds(c.Argument(2)))
		}),
		"setNew": with(func(ctx context.Context, store *script.Store, key string, c goja.FunctionCall) (any, error) {
			return store.SetNew(ctx, key, s.vm.Data(c.Argument(1)), seconds(c.Argument(2)))
		}),
		"del": with(func(ctx context.Context, store *script.Store, key string, _ goja.FunctionCall) (any, error) {
			return nil, store.Delete(ctx, key)
		}),
		"ttl": with(func(ctx context.Context, store *script.Store, key string, _ goja.FunctionCall) (any, error) {
			left, ok, err := store.TTL(ctx, key)
			switch {
			case !ok:
				return -2, err
			case left == 0:
				return -1, err
			}
			return left.Seconds(), err
		}),
		"incr": with(func(ctx context.Context, store *script.Store, key string, c goja.FunctionCall) (any, error) {
			delta := 1.0
			if !nothing(c.Argument(1)) {
				delta = engine.Clamp(c.Argument(1), -1<<53, 1<<53)
			}
			return store.Add(ctx, key, int64(delta), seconds(c.Argument(2)))
		}),
	})
}

func seconds(v goja.Value) time.Duration {
	if nothing(v) {
		return 0
	}
	return time.Duration(engine.Clamp(v, 0, 1<<32) * float64(time.Second))
}

// fetch makes a request and returns the reply.
func (s *state) fetch(c goja.FunctionCall) goja.Value {
	r := script.HTTPRequest{URL: engine.Bytes(c.Argument(0))}
	if options, ok := c.Argument(1).(*goja.Object); ok {
		r.Method = s.optional(options.Get("method"))
		r.Header, r.Body = s.fields(options.Get("headers")), s.vm.Data(options.Get("body"))
		r.Timeout = seconds(options.Get("timeout"))
	}
	client := s.vm.Plugin().Services.HTTP
	if client == nil {
		s.vm.Fail(fmt.Errorf("fetch: %w", script.ErrNoService))
	}
	var reply *script.HTTPReply
	s.vm.Outside(func(ctx context.Context) (err error) {
		if reply, err = client.Do(ctx, s.vm.By(), r); err != nil {
			err = fmt.Errorf("fetch: %w", err)
		}
		return err
	})
	var h sdk.Header
	for _, f := range reply.Header {
		h.Append(f.Name, f.Value)
	}
	o, headers := s.vm.JS.NewObject(), s.headers(0, func() *sdk.Header { return &h })
	set(o, "status", reply.Status)
	set(o, "ok", reply.Status >= 200 && reply.Status <= 299)
	set(o, "headers", headers)
	s.bodies(o, func() []byte { return reply.Body }, nil)
	return o
}

func (s *state) base64() *goja.Object {
	decode := func(e *base64.Encoding) func(goja.FunctionCall) goja.Value {
		return func(c goja.FunctionCall) goja.Value {
			out, err := e.DecodeString(strings.TrimRight(engine.Bytes(c.Argument(0)), "="))
			if err != nil {
				s.vm.Throw("%v", err)
			}
			return s.vm.Text(string(out))
		}
	}
	encode := func(e *base64.Encoding) func(goja.FunctionCall) goja.Value {
		return func(c goja.FunctionCall) goja.Value { return s.vm.Text(e.EncodeToString(s.vm.Data(c.Argument(0)))) }
	}
	return s.object(map[string]func(goja.FunctionCall) goja.Value{
		"encode": encode(base64.StdEncoding), "decode": decode(base64.RawStdEncoding),
		"urlEncode": encode(base64.RawURLEncoding), "urlDecode": decode(base64.RawURLEncoding),
	})
}

func (s *state) hex() *goja.Object {
	return s.object(map[string]func(goja.FunctionCall) goja.Value{
		"encode": func(c goja.FunctionCall) goja.Value { return s.vm.Text(hex.EncodeToString(s.vm.Data(c.Argument(0)))) },
		"decode": func(c goja.FunctionCall) goja.Value {
			out, err := hex.DecodeString(engine.Bytes(c.Argument(0)))
			if err != nil {
				s.vm.Throw("%v", err)
			}
			return s.vm.Text(string(out))
		},
	})
}

// encoded is bytes as a script wants them.
func (s *state) encoded(b []byte, encoding goja.Value) goja.Value {
	switch name := s.optional(encoding); name {
	case "", "hex":
		return s.vm.Text(hex.EncodeToString(b))
	case "base64":
		return s.vm.Text(base64.StdEncoding.EncodeToString(b))
	case "bytes":
		return s.vm.Uint8Array(b)
	default:
		s.vm.Throw("unknown encoding %q: want hex, base64 or bytes", name)
	}
	return nil
}

func (s *state) hash(name string) func() hash.Hash {
	switch name {
	case "sha1":
		return sha1.New
	case "sha256":
		return sha256.New
	case "sha512":
		return sha512.New
	}
	s.vm.Throw("unknown hash %q: want sha1, sha256 or sha512", name)
	return nil
}

func (s *state) crypto() *goja.Object {
	all := map[string]func(goja.FunctionCall) goja.Value{
		"hmac": func(c goja.FunctionCall) goja.Value {
			h := hmac.New(s.hash(engine.Bytes(c.Argument(0))), s.vm.Data(c.Argument(1)))
			h.Write(s.vm.Data(c.Argument(2)))
			return s.encoded(h.Sum(nil), c.Argument(3))
		},
		"equal": func(c goja.FunctionCall) goja.Value {
			return s.vm.JS.ToValue(subtle.ConstantTimeCompare(s.vm.Data(c.Argument(0)), s.vm.Data(c.Argument(1))) == 1)
		},
		"random": func(c goja.FunctionCall) goja.Value {
			n := engine.Clamp(c.Argument(0), 0, maxRandom+1)
			if n < 1 || n > maxRandom {
				s.vm.Throw("random: want 1 to %d bytes", maxRandom)
			}
			return s.encoded(random(int(n)), c.Argument(1))
		},
		"uuid": func(goja.FunctionCall) goja.Value {
			b := random(16)
			b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562 §5.4
			return s.vm.Text(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
		},
	}
	for _, name := range []string{"sha1", "sha256", "sha512"} {
		all[name] = func(c goja.FunctionCall) goja.Value {
			h := s.hash(name)()
			h.Write(s.vm.Data(c.Argument(0)))
			return s.encoded(h.Sum(nil), c.Argument(1))
		}
	}
	return s.object(all)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
