package lua

import (
	"context"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

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
		"ttl": m.storeTTL,
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

func (m *machine) storeTTL(l *lua.LState) int {
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
}
