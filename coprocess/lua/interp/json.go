package interp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script/jsontext"
)

// maxNested is how deep values that become JSON may be nested; deeper ones are mostly cyclic.
const maxNested = 100

// Null is JSON's null where a table cannot hold nil.
func (s *State) Null() lua.LValue { return s.null }

// EncodeJSON appends the JSON of a value: tables with positions from 1 up are arrays, others objects, empty ones objects
// unless [State.Array] made them. Names are in order of the alphabet. Text that is no UTF-8 has its strange bytes replaced.
func (s *State) EncodeJSON(b []byte, v lua.LValue) ([]byte, error) {
	b, err := s.encode(b, v, 0)
	if err == nil && len(b) > s.o.Limits.Size {
		return nil, script.ErrSize
	}
	return b, err
}

func (s *State) encode(b []byte, v lua.LValue, depth int) ([]byte, error) {
	if depth > maxNested {
		return nil, errors.New("too deeply nested, or cyclic, for JSON")
	}
	if len(b) > s.o.Limits.Size {
		return nil, script.ErrSize
	}
	switch v := v.(type) {
	case *lua.LNilType:
		return append(b, "null"...), nil
	case lua.LBool:
		return strconv.AppendBool(b, bool(v)), nil
	case lua.LNumber:
		return appendNumber(b, float64(v))
	case lua.LString:
		if len(v) > s.o.Limits.Size {
			return nil, script.ErrSize
		}
		return appendText(b, string(v)), nil
	case *lua.LTable:
		if why := s.Interrupted(); why != nil {
			return nil, why
		}
		return s.encodeTable(b, v, depth)
	}
	if v == lua.LValue(s.null) {
		return append(b, "null"...), nil
	}
	return nil, fmt.Errorf("a %s has no JSON", v.Type())
}

func appendNumber(b []byte, f float64) ([]byte, error) {
	switch {
	case math.IsInf(f, 0) || f != f:
		return nil, errors.New("JSON has no infinity and nothing that is not a number")
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return strconv.AppendInt(b, int64(f), 10), nil
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64), nil
}

func appendText(b []byte, text string) []byte {
	plain := true
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), text...), '"')
	}
	var w strings.Builder
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if e.Encode(text) != nil {
		return append(b, `""`...) // a string always has a JSON
	}
	return append(b, strings.TrimSuffix(w.String(), "\n")...)
}

func (s *State) encodeTable(b []byte, t *lua.LTable, depth int) ([]byte, error) {
	t = s.inside(t)
	n := t.Len()
	type entry struct {
		key string
		v   lua.LValue
	}
	var entries []entry
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if i, ok := k.(lua.LNumber); ok && n > 0 && float64(i) == math.Trunc(float64(i)) && i >= 1 && int(i) <= n {
			continue
		}
		if !lua.LVCanConvToString(k) {
			return nil, fmt.Errorf("a %s cannot be a name in JSON", k.Type())
		}
		entries = append(entries, entry{lua.LVAsString(k), v})
	}
	var err error
	if len(entries) == 0 && (n > 0 || s.isArray(t)) {
		b = append(b, '[')
		for i := 1; i <= n; i++ {
			if i > 1 {
				b = append(b, ',')
			}
			if b, err = s.encode(b, t.RawGetInt(i), depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	for i := 1; i <= n; i++ {
		entries = append(entries, entry{strconv.Itoa(i), t.RawGetInt(i)})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	b = append(b, '{')
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, e.key), ':')
		if b, err = s.encode(b, e.v, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// Array makes an empty table that becomes an array in JSON.
func (s *State) Array() *lua.LTable {
	t := s.L.CreateTable(2, 0)
	t.Metatable = s.arrays
	return t
}

func (s *State) isArray(t *lua.LTable) bool { return t.Metatable == s.arrays }

// DecodeJSON makes a value of JSON. null is nil at the top, [State.Null] inside with nulls, and left out without.
func (s *State) DecodeJSON(text string, nulls bool) (lua.LValue, error) {
	if s.reader == nil {
		s.reader = s.newReader()
	}
	s.nulls = nulls
	v, err := s.reader.Read(text)
	switch {
	case err != nil && s.Interrupted() != nil:
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("invalid JSON: %w", err)
	case v == lua.LValue(s.null):
		v = lua.LNil
	}
	return v, nil
}

func (s *State) newReader() *jsontext.Reader[lua.LValue] {
	return &jsontext.Reader[lua.LValue]{
		Make: jsontext.Make[lua.LValue]{
			Null: s.null, True: lua.LTrue, False: lua.LFalse,
			Whole:  func(n int64) lua.LValue { return lua.LNumber(n) },
			Number: func(f float64) lua.LValue { return lua.LNumber(f) },
			Text:   func(text string) lua.LValue { return lua.LString(text) },
			Units:  func(units []uint16) lua.LValue { return lua.LString(utf16.Decode(units)) },
			Object: func() lua.LValue { return s.L.CreateTable(0, 1) },
			Member: func(object lua.LValue, name string, v lua.LValue) error {
				if s.nulls || v != lua.LValue(s.null) {
					object.(*lua.LTable).RawSetString(name, v)
				}
				return nil
			},
			List: func(items []lua.LValue) lua.LValue {
				list := s.Array()
				for _, v := range items {
					list.Append(v) // nulls stay: leaving them out would move what follows
				}
				return list
			},
		},
		Depth: maxNested,
		GoOn:  s.Interrupted,
	}
}

// JSON returns the library that encodes and decodes.
func (s *State) JSON() *lua.LTable {
	t := s.L.CreateTable(0, 1)
	t.RawSetString("null", s.null)
	s.functions(t, map[string]lua.LGFunction{
		"encode": func(l *lua.LState) int {
			b, err := s.EncodeJSON(nil, l.Get(1))
			s.Check(l, err)
			l.Push(lua.LString(b))
			return 1
		},
		"decode": func(l *lua.LState) int {
			v, err := s.DecodeJSON(l.CheckString(1), true)
			s.Check(l, err)
			l.Push(v)
			return 1
		},
	})
	return s.Freeze(t)
}

// Check raises err, if there is one; a breach of bounds ends the call.
func (s *State) Check(l *lua.LState, err error) {
	switch {
	case err == nil:
	case script.Offence(err):
		s.Breach(l, err)
	default:
		l.RaiseError("%s", err.Error())
	}
}
