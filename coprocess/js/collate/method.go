package collate

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// Install gives js a String.prototype.localeCompare (ECMA-262 §22.1.3.12) with the order of a [Collator], in the place of
// goja's.
func Install(js *goja.Runtime) error {
	f := js.ToValue(method(js)).(*goja.Object)
	for name, value := range map[string]any{"name": "localeCompare", "length": 1} {
		if err := f.DefineDataProperty(name, js.ToValue(value), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
			return err
		}
	}
	of := js.Get("String").(*goja.Object).Get("prototype").(*goja.Object)
	return of.DefineDataProperty("localeCompare", f, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
}

func method(js *goja.Runtime) func(goja.FunctionCall) goja.Value {
	var collator Collator
	return func(c goja.FunctionCall) goja.Value {
		if c.This == nil || goja.IsUndefined(c.This) || goja.IsNull(c.This) {
			panic(js.NewTypeError("Value is not object coercible"))
		}
		a := toString(js, c.This)
		b := toString(js, c.Argument(0))
		x, y := a.String(), b.String()
		order := collator.Compare(x, y)
		if order == 0 && strings.ContainsRune(x, utf8.RuneError) {
			order = compareLone(a, b)
		}
		return js.ToValue(order)
	}
}

// toString is ToString of ECMA-262 §7.1.17.
func toString(js *goja.Runtime, v goja.Value) goja.String {
	v = v.ToString() // of an object, what its methods return
	if _, ok := v.(*goja.Symbol); ok {
		panic(js.NewTypeError("Cannot convert a Symbol value to a string"))
	}
	if s, ok := v.(goja.String); ok {
		return s
	}
	return js.ToValue(v.String()).(goja.String)
}

// compareLone orders strings that are canonically equal but for surrogates that are alone, which Go's strings have as
// U+FFFD: by these.
func compareLone(a, b goja.String) int {
	for i, j := 0, 0; ; {
		var x, y uint16
		x, i = nextLone(a, i)
		y, j = nextLone(b, j)
		if x != y || x == 0 {
			return cmp.Compare(x, y)
		}
	}
}

// nextLone is the first surrogate from i on that is alone, or U+FFFD itself, and what comes after it; 0 at the end.
func nextLone(s goja.String, i int) (unit uint16, after int) {
	for n := s.Length(); i < n; i++ {
		switch c := s.CharAt(i); {
		case c>>10 == 0xD800>>10 && i+1 < n && s.CharAt(i+1)>>10 == 0xDC00>>10:
			i++
		case c>>11 == 0xD800>>11 || c == utf8.RuneError:
			return c, i + 1
		}
	}
	return 0, i
}
