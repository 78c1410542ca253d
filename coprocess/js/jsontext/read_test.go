package jsontext

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dop251/goja"
)

func newReader(js *goja.Runtime) *Reader {
	return &Reader{JS: js, Text: func(s string) goja.Value { return js.ToValue(s) }, Depth: 100, GoOn: func() {}}
}

// written is what goja's own JSON.stringify makes of a value.
func written(t *testing.T, js *goja.Runtime, v goja.Value) string {
	t.Helper()
	stringify, _ := goja.AssertFunction(js.Get("JSON").(*goja.Object).Get("stringify"))
	text, err := stringify(goja.Undefined(), v)
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		`null`: `null`, ` true `: `true`, "\t\r\n false": `false`, `0`: `0`, `-0`: `0`, `-12`: `-12`, `1.5`: `1.5`, `1e3`: `1000`, `1E+2`: `100`, `25e-1`: `2.5`,
		`9007199254740993`: `9007199254740992`, `123456789012345678901`: `123456789012345680000`, `1e400`: `null`, `1e-400`: `0`,
		`""`: `""`, `"a\"\\\/\b\f\n\r\té"`: `"a\"\\/\b\f\n\r\té"`, `"\u0041\u00e9\ud83d\ude00"`: `"Aé😀"`, `"é\ud83dx"`: `"é\ud83dx"`, `"\udc80"`: `"\udc80"`, `"\ud83d\u0041"`: `"\ud83dA"`,
		`[]`: `[]`, `[ ]`: `[]`, `[1, [2,{}] ]`: `[1,[2,{}]]`, `{}`: `{}`, `{ }`: `{}`, `{"b":1,"a":{"c":[null]}}`: `{"b":1,"a":{"c":[null]}}`, `{"a":1,"a":2}`: `{"a":2}`,
		`{"__proto__":{"a":1}}`: `{"__proto__":{"a":1}}`, `{"constructor":1,"":2}`: `{"constructor":1,"":2}`,
	} {
		js := goja.New()
		v, err := newReader(js).Read(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := written(t, js, v); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "nul", "tru", "undefined", "01", "-", "+1", ".5", "1.", "1.e2", "1e", "1e+", "NaN", "0x1", "'a'", `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\`, "\"a\nb\"", "\"\x00\"",
		"[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{1:2}`, "1 2", "[]]", "null,", "\ufeff1",
		strings.Repeat("[", 101) + strings.Repeat("]", 101), strings.Repeat("[", 1_000_000),
	} {
		if v, err := newReader(goja.New()).Read(text); err == nil {
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
		js := goja.New()
		r := newReader(js)
		r.Depth = 10_000
		v, err := r.Read(text)
		valid := json.Valid([]byte(text))
		if (err == nil) != valid {
			t.Fatalf("%q: %v, and encoding/json says %v", text, err, valid)
		}
		if err != nil || strings.Contains(text, "\\u") || strings.ContainsRune(text, '\ufffd') || !json.Valid([]byte(written(t, js, v))) {
			return
		}
		parse, _ := goja.AssertFunction(js.Get("JSON").(*goja.Object).Get("parse"))
		own, err := parse(goja.Undefined(), js.ToValue(text))
		if err != nil {
			return // it knows no number beyond the largest
		}
		if got, want := written(t, js, v), written(t, js, own); got != want {
			t.Fatalf("%q: got %s, want %s", text, got, want)
		}
	})
}
