package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// newReader reads into the types of encoding/json; strings with half a surrogate pair are lists of units.
func newReader() *Reader[any] {
	return &Reader[any]{
		Make: Make[any]{
			Null: nil, True: true, False: false,
			Whole: func(n int64) any { return float64(n) }, Number: func(f float64) any { return f },
			Text: func(s string) any { return s }, Units: func(u []uint16) any { return u },
			Object: func() any { return map[string]any{} },
			Member: func(o any, name string, v any) error { o.(map[string]any)[name] = v; return nil },
			List:   func(items []any) any { return append([]any{}, items...) },
		},
		Depth: 100, GoOn: func() error { return nil },
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		`null`: `null`, ` true `: `true`, "\t\r\n false": `false`, `0`: `0`, `-0`: `-0`, `-12`: `-12`, `1.5`: `1.5`, `1e3`: `1000`, `1E+2`: `100`, `25e-1`: `2.5`,
		`9007199254740993`: `9007199254740992`, `1234567890123456789012`: `1.2345678901234568e+21`, `1e400`: `"infinity"`, `1e-400`: `0`,
		`""`: `""`, `"a\"\\\/\b\f\n\r\té"`: `"a\"\\/\b\f\n\r\té"`, `"\u0041\u00e9\ud83d\ude00"`: `"Aé😀"`, `"é😀\ud83dx😀"`: `[233,55357,56832,55357,120,55357,56832]`, `"\udc80"`: `[56448]`, `"\ud83d\u0041"`: `[55357,65]`, `"\ud83d\ud83d\ude00\n"`: `[55357,55357,56832,10]`, `{"\ud83d":1}`: "{\"\ufffd\":1}",
		`[]`: `[]`, `[ ]`: `[]`, `[1, [2,{}] ]`: `[1,[2,{}]]`, `{}`: `{}`, `{ }`: `{}`, `{"b":1,"a":{"c":[null]}}`: `{"a":{"c":[null]},"b":1}`, `{"a":1,"a":2}`: `{"a":2}`,
		`{"__proto__":{"a":1}}`: `{"__proto__":{"a":1}}`, `{"constructor":1,"":2}`: `{"":2,"constructor":1}`,
	} {
		v, err := newReader().Read(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if f, ok := v.(float64); ok && math.IsInf(f, 0) {
			v = "infinity"
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil || strings.TrimSpace(b.String()) != want {
			t.Errorf("%s: got %s %v, want %s", text, b.String(), err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "nul", "tru", "undefined", "01", "-", "+1", ".5", "1.", "1.e2", "1e", "1e+", "NaN", "0x1", "'a'", `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\`, "\"a\nb\"", "\"\x00\"",
		"[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{1:2}`, "1 2", "[]]", "null,", "\ufeff1",
		strings.Repeat("[", 101) + strings.Repeat("]", 101), strings.Repeat("[", 1_000_000),
	} {
		if v, err := newReader().Read(text); err == nil {
			t.Errorf("%.40q was read as %v", text, v)
		}
	}
}

// FuzzRead: what encoding/json reads is read, as the same value, and nothing else.
func FuzzRead(f *testing.F) {
	for _, text := range []string{`{"a":[1,-2.5e3,"\u00e9\n",true,false,null]}`, `"\ud800"`, `[[[]]]`, `{"a":1,"a":{}}`, `1e999`, ` 0 `} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newReader()
		r.Depth = 10_000
		v, err := r.Read(text)
		var want any
		own := json.Unmarshal([]byte(text), &want)
		if valid := json.Valid([]byte(text)); (err == nil) != valid {
			t.Fatalf("%q: %v, and encoding/json says %v", text, err, valid)
		}
		if own != nil || !utf8.ValidString(text) || strings.Contains(text, `\u`) {
			return // it has no number beyond the largest, and replaces what we keep
		}
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("%q: got %#v, want %#v", text, v, want)
		}
	})
}

// The bytes of strings are as they were, UTF-8 or not.
func TestBytes(t *testing.T) {
	for text, want := range map[string]string{"\"\xff\"": "\xff", "\"\xff\\n\"": "\xff\n"} {
		if v, err := newReader().Read(text); err != nil || v != want {
			t.Errorf("%q: got %q, %v", text, v, err)
		}
	}
}

func TestGoOn(t *testing.T) {
	over := errors.New("over")
	r := newReader()
	r.GoOn = func() error { return over }
	if _, err := r.Read("[" + strings.Repeat("1,", 2000) + "1]"); !errors.Is(err, over) {
		t.Errorf("got %v", err)
	}
}
