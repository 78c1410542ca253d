package interp

import (
	"errors"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/pattern"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// openStrings replaces the functions that search and those that can make much of little.
func (s *State) openStrings(lib *lua.LTable) {
	lib.RawSetString("dump", lua.LNil)
	s.functions(lib, map[string]lua.LGFunction{
		"find": func(l *lua.LState) int { return s.find(l, true) }, "match": func(l *lua.LState) int { return s.find(l, false) },
		"gmatch": s.gmatch, "gfind": s.gmatch, "gsub": s.gsub, "rep": s.rep, "format": s.format,
	})
	meta := s.L.CreateTable(0, 1)
	meta.RawSetString("__index", lib)
	meta.RawSetString("__metatable", lua.LFalse)
	s.L.SetMetatable(lua.LString(""), meta)
}

// Room fails the call when a string of n bytes is too long to be made.
func (s *State) Room(l *lua.LState, n int) { s.room(l, n) }

// room fails the call when a string of n bytes is too long to be made.
func (s *State) room(l *lua.LState, n int) {
	if n > s.o.Limits.Size || n < 0 {
		s.Breach(l, script.ErrSize)
	}
}

// join is what concatenations are compiled into.
func (s *State) join(l *lua.LState) int {
	top, size := l.GetTop(), 0
	var few [8]string
	parts := few[:0]
	for i := 1; i <= top; i++ {
		v := l.Get(i)
		if !lua.LVCanConvToString(v) {
			return s.joinMeta(l, top)
		}
		part := lua.LVAsString(v)
		size += len(part)
		parts = append(parts, part)
	}
	s.room(l, size)
	l.Push(lua.LString(strings.Join(parts, "")))
	return 1
}

// joinMeta joins from the right, two at a time, asking metatables.
func (s *State) joinMeta(l *lua.LState, top int) int {
	right := l.Get(top)
	for i := top - 1; i >= 1; i-- {
		left := l.Get(i)
		if lua.LVCanConvToString(left) && lua.LVCanConvToString(right) {
			a, b := lua.LVAsString(left), lua.LVAsString(right)
			s.room(l, len(a)+len(b))
			right = lua.LString(a + b)
			continue
		}
		f := l.GetMetaField(left, "__concat")
		if f == lua.LNil {
			f = l.GetMetaField(right, "__concat")
		}
		if f == lua.LNil {
			l.RaiseError("attempt to concatenate a %s and a %s value", left.Type(), right.Type())
		}
		l.Push(f)
		l.Push(left)
		l.Push(right)
		l.Call(2, 1)
		right = l.Get(-1)
		l.Pop(1)
	}
	l.Push(right)
	return 1
}

func (s *State) rep(l *lua.LState) int {
	text, n := l.CheckString(1), l.CheckInt(2)
	if n <= 0 || text == "" {
		l.Push(lua.LString(""))
		return 1
	}
	if n > s.o.Limits.Size/len(text) {
		s.room(l, -1)
	}
	l.Push(lua.LString(strings.Repeat(text, n)))
	return 1
}

func (s *State) matcher(subject, p string) *pattern.Matcher {
	return &pattern.Matcher{Subject: subject, Pattern: p, Stop: func() bool { return s.tether.why.Load() != nil }}
}

// searched raises what ended a search.
func (s *State) searched(l *lua.LState, err error) {
	if err == nil {
		return
	}
	if why := s.Interrupted(); why != nil && errors.Is(err, pattern.ErrStopped) {
		err = why
	}
	l.RaiseError("%s", err.Error())
}

// start is the byte that the optional argument n names, from 0.
func start(l *lua.LState, n, length int) int {
	init := l.OptInt(n, 1)
	if init < 0 {
		init = max(length+init+1, 1)
	}
	return max(init-1, 0)
}

func (s *State) find(l *lua.LState, places bool) int {
	subject, p := l.CheckString(1), l.CheckString(2)
	init := start(l, 3, len(subject))
	if init > len(subject) {
		l.Push(lua.LNil)
		return 1
	}
	if places && (lua.LVAsBool(l.Get(4)) || !strings.ContainsAny(p, "^$*+?.([%-")) {
		at := strings.Index(subject[init:], p)
		if at < 0 {
			l.Push(lua.LNil)
			return 1
		}
		l.Push(lua.LNumber(init + at + 1))
		l.Push(lua.LNumber(init + at + len(p)))
		return 2
	}
	m := s.matcher(subject, p)
	from, to, ok, err := m.Find(init)
	s.searched(l, err)
	if !ok {
		l.Push(lua.LNil)
		return 1
	}
	if places {
		l.Push(lua.LNumber(from + 1))
		l.Push(lua.LNumber(to))
		return 2 + s.captures(l, m)
	}
	if n := s.captures(l, m); n > 0 {
		return n
	}
	l.Push(lua.LString(subject[from:to]))
	return 1
}

// captures pushes the captures of a match.
func (s *State) captures(l *lua.LState, m *pattern.Matcher) int {
	for i := range m.Captures() {
		l.Push(s.capture(l, m, i))
	}
	return m.Captures()
}

func (s *State) capture(l *lua.LState, m *pattern.Matcher, i int) lua.LValue {
	c, err := m.Capture(i)
	s.searched(l, err)
	if c.At {
		return lua.LNumber(c.Start + 1)
	}
	return lua.LString(m.Subject[c.Start:c.End])
}

func (s *State) gmatch(l *lua.LState) int {
	subject, p := l.CheckString(1), l.CheckString(2)
	m, at := s.matcher(subject, p), 0
	l.Push(l.NewFunction(func(l *lua.LState) int {
		for at <= len(subject) {
			at = m.Skip(at)
			end, ok, err := m.Match(at)
			s.searched(l, err)
			if !ok {
				at++
				continue
			}
			from := at
			if at = end; end == from {
				at++
			}
			if n := s.captures(l, m); n > 0 {
				return n
			}
			l.Push(lua.LString(subject[from:end]))
			return 1
		}
		l.Push(lua.LNil)
		return 1
	}))
	return 1
}

func (s *State) gsub(l *lua.LState) int {
	subject, p := l.CheckString(1), l.CheckString(2)
	l.CheckTypes(3, lua.LTString, lua.LTNumber, lua.LTTable, lua.LTFunction)
	most := l.OptInt(4, len(subject)+1)
	m := s.matcher(subject, p)
	anchored := m.Anchored()
	if anchored {
		m.Pattern = p[1:]
	}
	var b strings.Builder
	at, n := 0, 0
	for n < most {
		if !anchored {
			from := at
			at = m.Skip(from)
			b.WriteString(subject[from:at])
		}
		end, ok, err := m.Match(at)
		s.searched(l, err)
		if ok {
			n++
			s.substitute(l, &b, m, at, end)
			s.room(l, b.Len())
		}
		switch {
		case ok && end > at:
			at = end
		case at < len(subject):
			b.WriteByte(subject[at])
			at++
		default:
			at++
		}
		if at > len(subject) || anchored {
			break
		}
	}
	if at < len(subject) {
		b.WriteString(subject[at:])
	}
	s.room(l, b.Len())
	l.Push(lua.LString(b.String()))
	l.Push(lua.LNumber(n))
	return 2
}

// substitute writes what takes the place of a match.
func (s *State) substitute(l *lua.LState, b *strings.Builder, m *pattern.Matcher, from, to int) {
	whole := lua.LValue(lua.LString(m.Subject[from:to]))
	first := whole
	if m.Captures() > 0 {
		first = s.capture(l, m, 0)
	}
	var v lua.LValue
	switch repl := l.Get(3).(type) {
	case *lua.LTable:
		v = l.GetTable(repl, first)
	case *lua.LFunction:
		l.Push(repl)
		n := s.captures(l, m)
		if n == 0 {
			l.Push(whole)
			n = 1
		}
		l.Call(n, 1)
		v = l.Get(-1)
		l.Pop(1)
	default:
		s.expand(l, b, m, lua.LVAsString(repl), whole, first)
		return
	}
	switch {
	case !lua.LVAsBool(v):
		v = whole
	case !lua.LVCanConvToString(v):
		l.RaiseError("invalid replacement value (a %s)", v.Type())
	}
	b.WriteString(lua.LVAsString(v))
}

// expand writes a replacement text, in which %1 and the like stand for captures.
func (s *State) expand(l *lua.LState, b *strings.Builder, m *pattern.Matcher, text string, whole, first lua.LValue) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '%' || i+1 == len(text) {
			b.WriteByte(c)
			continue
		}
		i++
		switch c = text[i]; {
		case c == '0':
			b.WriteString(lua.LVAsString(whole))
		case c == '1':
			b.WriteString(lua.LVAsString(first))
		case '2' <= c && c <= '9':
			b.WriteString(lua.LVAsString(s.capture(l, m, int(c)-'1')))
		default:
			b.WriteByte(c)
		}
		s.room(l, b.Len())
	}
}

func (s *State) concatTable(l *lua.LState) int {
	t, sep := l.CheckTable(1), l.OptString(2, "")
	s.whole(t)
	from := l.OptInt(3, 1)
	to := l.OptInt(4, t.Len())
	if to-from > s.o.Limits.Size {
		s.room(l, -1)
	}
	var b strings.Builder
	for i := from; i <= to; i++ {
		v := t.RawGetInt(i)
		if !lua.LVCanConvToString(v) {
			l.RaiseError("invalid value (a %s) at index %d in table for 'concat'", v.Type(), i)
		}
		b.WriteString(lua.LVAsString(v))
		if i < to {
			b.WriteString(sep)
		}
		s.room(l, b.Len())
	}
	l.Push(lua.LString(b.String()))
	return 1
}
