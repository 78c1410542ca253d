package engine

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script/jsontext"
)

// maxJSON is how deep JSON may be nested, read or written.
const maxJSON = 1000

// boundJSON bounds JSON in depth and size: goja's own recurses as deep as the text, or the objects, are nested.
func (vm *VM) boundJSON() error {
	json := vm.JS.Get("JSON").(*goja.Object)
	vm.json = vm.reader()
	if err := vm.wrap(json, "parse", func(was goja.Callable) native {
		return func(c goja.FunctionCall) goja.Value {
			text := Bytes(c.Argument(0))
			v := vm.Parse(text)
			if _, ok := goja.AssertFunction(c.Argument(1)); ok {
				return pass(was, c) // it is no JSON that the other does not read, nor too deep
			}
			return v
		}
	}); err != nil {
		return err
	}
	return vm.wrap(json, "stringify", func(goja.Callable) native {
		return func(c goja.FunctionCall) goja.Value {
			text, ok := vm.stringify(c.Argument(0), c.Argument(1), c.Argument(2))
			if !ok {
				return goja.Undefined()
			}
			return vm.JS.ToValue(text)
		}
	})
}

// reader reads JSON into values of the interpreter.
func (vm *VM) reader() jsontext.Reader[goja.Value] {
	return jsontext.Reader[goja.Value]{
		Make: jsontext.Make[goja.Value]{
			Null: goja.Null(), True: vm.JS.ToValue(true), False: vm.JS.ToValue(false),
			Whole:  func(n int64) goja.Value { return vm.JS.ToValue(n) },
			Number: func(f float64) goja.Value { return vm.JS.ToValue(f) },
			Text:   vm.Text,
			Units:  func(units []uint16) goja.Value { return goja.StringFromUTF16(units) },
			Object: func() goja.Value { return vm.JS.NewObject() },
			Member: func(object goja.Value, name string, v goja.Value) error {
				// Defined and not set: what the prototype has under the name, __proto__ say, has no part in it.
				return object.(*goja.Object).DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE)
			},
			List: func(items []goja.Value) goja.Value {
				all := make([]any, len(items))
				for i, v := range items {
					all[i] = v
				}
				return vm.JS.NewArray(all...)
			},
		},
		Depth: maxJSON,
		GoOn:  func() error { vm.goOn(); return nil },
	}
}

// Parse makes JSON text, in which bytes need not be UTF-8, a value, as JSON.parse does.
func (vm *VM) Parse(text string) goja.Value {
	v, err := vm.json.Read(text)
	if err != nil {
		syntax, failed := vm.JS.New(vm.JS.Get("SyntaxError"), vm.JS.ToValue(err.Error()))
		if failed != nil {
			panic(failed)
		}
		panic(syntax)
	}
	return v
}

// Stringify makes a value JSON text, as JSON.stringify does; false for a value that has none, such as a function.
func (vm *VM) Stringify(v goja.Value) (string, bool) {
	return vm.stringify(v, goja.Undefined(), goja.Undefined())
}

// writer is JSON.stringify (ECMA-262 §25.5.2) under way.
type writer struct {
	vm       *VM
	out      []byte
	replacer goja.Callable
	only     []string // property list; nil: all
	gap      string
	stack    []*goja.Object
	values   int
}

func (vm *VM) stringify(v, replacer, space goja.Value) (string, bool) {
	w := &writer{vm: vm}
	if f, ok := goja.AssertFunction(replacer); ok {
		w.replacer = f
	} else if o, ok := replacer.(*goja.Object); ok && o.ClassName() == "Array" {
		w.only = []string{}
		n := o.Get("length").ToFloat()
		vm.elements(n)
		for i := range int(n) {
			w.only = append(w.only, o.Get(strconv.Itoa(i)).String())
		}
	}
	switch gap := space.(type) {
	case goja.String:
		w.gap = gap.String()
		w.gap = w.gap[:min(10, len(w.gap))]
	default:
		if n := space.ToFloat(); n >= 1 {
			w.gap = strings.Repeat(" ", int(min(n, 10)))
		}
	}
	var holder *goja.Object
	if w.replacer != nil { // nobody else sees it
		holder = vm.JS.NewObject()
		if err := holder.Set("", v); err != nil {
			panic(err)
		}
	}
	ok := w.value(holder, "", v)
	return string(w.out), ok
}

// value writes v, which holder has under key, or reports that it has no JSON.
func (w *writer) value(holder *goja.Object, key string, v goja.Value) bool {
	if w.values++; w.values&1023 == 0 {
		w.vm.goOn()
	}
	w.vm.room(float64(len(w.out)))
	if o, ok := v.(*goja.Object); ok {
		if f, ok := goja.AssertFunction(o.Get("toJSON")); ok {
			v = w.call(f, o, key)
		}
	}
	if w.replacer != nil {
		made, err := w.replacer(holder, w.vm.Text(key), v)
		if err != nil {
			panic(err)
		}
		v = made
	}
	switch x := v.(type) {
	case nil:
		return false
	case goja.String:
		w.text(Bytes(x))
		return true
	case *goja.Symbol:
		return false
	case *goja.Object:
		return w.object(x)
	}
	return w.primitive(v)
}

func (w *writer) call(f goja.Callable, this goja.Value, key string) goja.Value {
	v, err := f(this, w.vm.Text(key))
	if err != nil {
		panic(err)
	}
	return v
}

func (w *writer) primitive(v goja.Value) bool {
	switch {
	case goja.IsUndefined(v):
		return false
	case goja.IsNull(v):
		w.out = append(w.out, "null"...)
		return true
	}
	switch x := v.Export().(type) {
	case bool:
		w.out = append(w.out, strconv.FormatBool(x)...)
	case int64:
		w.out = append(w.out, strconv.FormatInt(x, 10)...)
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			w.out = append(w.out, "null"...)
			break
		}
		w.out = append(w.out, v.String()...)
	default:
		w.vm.Throw("JSON has no %T", x)
	}
	return true
}

func (w *writer) object(o *goja.Object) bool {
	switch o.ClassName() {
	case "Function":
		return false
	case "Number":
		return w.primitive(o.ToNumber())
	case "String":
		w.text(Bytes(o.ToString()))
		return true
	case "Boolean":
		return w.primitive(w.vm.JS.ToValue(o.Export()))
	}
	if _, callable := goja.AssertFunction(o); callable {
		return false
	}
	for _, outer := range w.stack {
		if outer == o {
			w.vm.Throw("Converting circular structure to JSON")
		}
	}
	if len(w.stack) >= maxJSON {
		panic(w.vm.rangeError("objects nested more than %d deep have no JSON", maxJSON))
	}
	w.stack = append(w.stack, o)
	if o.ClassName() == "Array" {
		w.array(o)
	} else {
		w.members(o)
	}
	w.stack = w.stack[:len(w.stack)-1]
	return true
}

func (w *writer) array(o *goja.Object) {
	n := o.Get("length").ToFloat()
	w.vm.elements(n)
	w.out = append(w.out, '[')
	for i := 0; float64(i) < n; i++ {
		w.next(i == 0)
		key := strconv.Itoa(i)
		if !w.value(o, key, o.Get(key)) {
			w.out = append(w.out, "null"...)
		}
	}
	w.close(n > 0, ']')
}

func (w *writer) members(o *goja.Object) {
	keys := w.only
	if keys == nil {
		keys = o.Keys()
	}
	w.out = append(w.out, '{')
	some := false
	for _, key := range keys {
		// What has no JSON leaves nothing behind, so its name is written only together with its value.
		at := len(w.out)
		w.next(!some)
		w.text(key)
		w.out = append(w.out, ':')
		if w.gap != "" {
			w.out = append(w.out, ' ')
		}
		if w.value(o, key, o.Get(key)) {
			some = true
			continue
		}
		w.out = w.out[:at]
	}
	w.close(some, '}')
}

func (w *writer) next(first bool) {
	if !first {
		w.out = append(w.out, ',')
	}
	w.line()
}

func (w *writer) line() {
	if w.gap == "" {
		return
	}
	w.out = append(w.out, '\n')
	for range w.stack {
		w.out = append(w.out, w.gap...)
	}
}

func (w *writer) close(some bool, bracket byte) {
	if some && w.gap != "" {
		w.out = append(w.out, '\n')
		for range len(w.stack) - 1 {
			w.out = append(w.out, w.gap...)
		}
	}
	w.out = append(w.out, bracket)
}

// text writes a string. Bytes that are no text are written as the escapes of the code units that scripts see.
func (w *writer) text(s string) {
	const hex = "0123456789abcdef"
	w.out = append(w.out, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		c := s[i]
		i += size
		switch {
		case r == '"' || r == '\\':
			w.out = append(w.out, '\\')
			w.out = append(w.out, byte(r))
		case r == '\n':
			w.out = append(w.out, `\n`...)
		case r == '\r':
			w.out = append(w.out, `\r`...)
		case r == '\t':
			w.out = append(w.out, `\t`...)
		case r < ' ':
			w.out = append(w.out, `\u00`...)
			w.out = append(w.out, hex[r>>4])
			w.out = append(w.out, hex[r&15])
		case r == utf8.RuneError && size == 1:
			w.out = append(w.out, `\udc`...)
			w.out = append(w.out, hex[c>>4])
			w.out = append(w.out, hex[c&15])
		default:
			w.out = utf8.AppendRune(w.out, r)
		}
	}
	w.out = append(w.out, '"')
}
