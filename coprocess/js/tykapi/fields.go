package tykapi

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What scripts return is read as Tyk reads it from JSON: keys without regard to case, unknown ones passed over, null and
// undefined as if absent, a value of the wrong type an error. It is read from the objects themselves.

// maxFields is how many keys one object that is returned may have.
const maxFields = 10_000

// absent reports whether JSON would not have the value, or null.
func absent(v goja.Value) bool {
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return true
	}
	_, function := goja.AssertFunction(v)
	return function
}

// each calls f for every key of an object that has a value. An exact key comes after those that only match without
// regard to case, so that it counts.
func each(at string, v goja.Value, names []string, f func(i int, v goja.Value) error) error {
	o, ok := v.(*goja.Object)
	if !ok {
		return wrong(at, v, "an object")
	}
	keys := o.Keys()
	if len(keys) > maxFields {
		return fmt.Errorf("%s has more than %d keys", at, maxFields)
	}
	for _, exact := range []bool{false, true} {
		for _, key := range keys {
			for i, name := range names {
				if (key == name) != exact || !strings.EqualFold(key, name) {
					continue
				}
				if value := o.Get(key); !absent(value) {
					if err := f(i, value); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func text(at string, v goja.Value) (string, error) {
	if s, ok := v.(goja.String); ok {
		return engine.Bytes(s), nil
	}
	if o, ok := v.(*goja.Object); ok && o.ClassName() == "String" {
		return engine.Bytes(o.ToString()), nil
	}
	return "", wrong(at, v, "a string")
}

func number(at string, v goja.Value) (int, error) {
	switch n := v.Export().(type) {
	case int64:
		return int(n), nil
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<31 {
			return int(n), nil
		}
	}
	return 0, wrong(at, v, "a whole number")
}

func truth(at string, v goja.Value) (bool, error) {
	if b, ok := v.Export().(bool); ok {
		return b, nil
	}
	return false, wrong(at, v, "true or false")
}

// texts reads a list of strings.
func texts(at string, v goja.Value) ([]string, error) {
	o, ok := v.(*goja.Object)
	if !ok || o.ClassName() != "Array" {
		return nil, wrong(at, v, "a list of strings")
	}
	n := int(o.Get("length").ToInteger())
	if n > maxFields {
		return nil, fmt.Errorf("%s has more than %d elements", at, maxFields)
	}
	all := make([]string, 0, n)
	for i := range n {
		item := o.Get(strconv.Itoa(i))
		if absent(item) {
			all = append(all, "")
			continue
		}
		s, ok := item.(goja.String)
		if !ok {
			one, err := text(fmt.Sprintf("%s[%d]", at, i), item)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
			continue
		}
		all = append(all, engine.Bytes(s))
	}
	return all, nil
}

// members calls f for each key and value of an object, in order.
func members(at string, v goja.Value, f func(name string, v goja.Value) error) error {
	o, ok := v.(*goja.Object)
	if !ok || o.ClassName() == "Array" {
		return wrong(at, v, "an object")
	}
	own, _ := o.Export().(*dict)
	var keys []string
	if own != nil {
		keys = own.names
	} else {
		keys = o.Keys()
	}
	if len(keys) > maxFields {
		return fmt.Errorf("%s has more than %d keys", at, maxFields)
	}
	for i, key := range keys {
		var value goja.Value
		if own != nil {
			value = own.values[i]
		} else {
			value = o.Get(key)
		}
		if value == nil || goja.IsUndefined(value) {
			continue
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	return nil
}

// pairs reads an object of strings.
func pairs(at string, v goja.Value) ([]sdk.Field, error) {
	var all []sdk.Field
	err := members(at, v, func(name string, v goja.Value) error {
		if goja.IsNull(v) {
			all = append(all, sdk.Field{Name: name})
			return nil
		}
		if s, ok := v.(goja.String); ok {
			all = append(all, sdk.Field{Name: name, Value: engine.Bytes(s)})
			return nil
		}
		s, err := text(at+"."+name, v)
		all = append(all, sdk.Field{Name: name, Value: s})
		return err
	})
	return all, err
}

// lists reads an object of lists of strings.
func lists(at string, v goja.Value) ([]sdk.Field, error) {
	var all []sdk.Field
	err := members(at, v, func(name string, v goja.Value) error {
		if goja.IsNull(v) {
			return nil
		}
		values, err := texts(at+"."+name, v)
		for _, value := range values {
			all = append(all, sdk.Field{Name: name, Value: value})
		}
		return err
	})
	return all, err
}

func wrong(at string, v goja.Value, want string) error {
	kind := "null"
	if o, ok := v.(*goja.Object); ok {
		kind = "an object of class " + o.ClassName()
	} else if t := v.ExportType(); t != nil {
		kind = t.String()
	}
	return fmt.Errorf("%w: the script returned %s as %s: want %s", sdk.ErrProtocol, at, kind, want)
}
