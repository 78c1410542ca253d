package template

import (
	"errors"
	"fmt"
	"text/template"
)

// function is one that templates call.
type function struct {
	least, most int // arguments; most is -1 without a bound
	do          func(args []any) (any, error)
}

func own(name string, f Func) function {
	return function{1, 1, func(args []any) (any, error) { return f(args[0]) }}
}

// builtins are the functions of text/template except for and and or. Of its package only those that escape are called.
func builtins() map[string]function {
	text := func(f func(...any) string) function {
		return function{0, -1, func(args []any) (any, error) { return f(args...), nil }}
	}
	compare := func(f func(a, b any) (bool, error)) function {
		return function{2, 2, func(args []any) (any, error) { return f(args[0], args[1]) }}
	}
	return map[string]function{
		"html":     text(template.HTMLEscaper),
		"js":       text(template.JSEscaper),
		"urlquery": text(template.URLQueryEscaper),
		"print":    text(fmt.Sprint),
		"println":  text(fmt.Sprintln),
		"printf":   {1, -1, printf},
		"len":      {1, 1, length},
		"index":    {1, -1, index},
		"slice":    {1, 4, cut},
		"call":     {1, -1, func([]any) (any, error) { return nil, errNoFunction }},
		"not":      {1, 1, func(args []any) (any, error) { return !truth(args[0]), nil }},
		"eq":       {1, -1, anyEqual},
		"ne":       compare(func(a, b any) (bool, error) { same, err := equal(a, b); return !same, err }),
		"lt":       compare(less),
		"le":       compare(lessOrEqual),
		"gt":       compare(func(a, b any) (bool, error) { not, err := lessOrEqual(a, b); return !not && err == nil, err }),
		"ge":       compare(func(a, b any) (bool, error) { not, err := less(a, b); return !not && err == nil, err }),
	}
}

func printf(args []any) (any, error) {
	format, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("the format is no string but %T", args[0])
	}
	return fmt.Sprintf(format, args[1:]...), nil
}

func length(args []any) (any, error) {
	switch v := args[0].(type) {
	case string:
		return len(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	case nil:
		return nil, errors.New("len of nil")
	}
	return nil, fmt.Errorf("len of type %T", args[0])
}

// index goes into a value by keys of maps and numbers of lists and strings.
func index(args []any) (any, error) {
	item := args[0]
	if item == nil {
		return nil, errors.New("index of nil")
	}
	for _, at := range args[1:] {
		switch v := item.(type) {
		case map[string]any:
			key, ok := at.(string)
			if !ok {
				return nil, fmt.Errorf("key %v is no string but %T", at, at)
			}
			item = v[key]
		case []any:
			i, err := position(at, len(v)-1)
			if err != nil {
				return nil, err
			}
			item = v[i]
		case string:
			i, err := position(at, len(v)-1)
			if err != nil {
				return nil, err
			}
			item = v[i]
		case nil:
			return nil, errors.New("index of nil")
		default:
			return nil, fmt.Errorf("can't index item of type %T", item)
		}
	}
	return item, nil
}

// cut is the function slice.
func cut(args []any) (any, error) {
	size := 0
	switch v := args[0].(type) {
	case string:
		if size = len(v); len(args) == 4 {
			return nil, errors.New("cannot 3-index slice a string")
		}
	case []any:
		size = len(v)
	default:
		return nil, fmt.Errorf("can't slice item of type %T", v)
	}
	bounds := [3]int{0, size, size}
	for i, arg := range args[1:] {
		at, err := position(arg, size)
		if err != nil {
			return nil, err
		}
		bounds[i] = at
	}
	if bounds[0] > bounds[1] || bounds[1] > bounds[2] {
		return nil, fmt.Errorf("invalid slice index: %d:%d:%d", bounds[0], bounds[1], bounds[2])
	}
	if text, ok := args[0].(string); ok {
		return text[bounds[0]:bounds[1]], nil
	}
	return args[0].([]any)[bounds[0]:bounds[1]:bounds[2]], nil
}

// position is an index that may be at most last.
func position(at any, last int) (int, error) {
	i, ok := whole(at)
	switch {
	case !ok:
		return 0, fmt.Errorf("cannot index slice or string with %v, a %T", at, at)
	case i < 0 || i > last:
		return 0, fmt.Errorf("index out of range: %d", i)
	}
	return i, nil
}

// whole is a number without a fraction: a constant, a length, or a byte of a string.
func whole(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case byte:
		return int(v), true
	}
	return 0, false
}

func anyEqual(args []any) (any, error) {
	if len(args) == 1 {
		return nil, errors.New("missing argument for comparison")
	}
	for _, other := range args[1:] {
		if same, err := equal(args[0], other); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// equal compares values of one kind. Nil is like nothing but nil.
func equal(a, b any) (bool, error) {
	if i, ok := whole(a); ok {
		a = i
	}
	if i, ok := whole(b); ok {
		b = i
	}
	if a == nil || b == nil {
		return a == nil && b == nil, nil
	}
	same, known := false, true
	switch x := a.(type) {
	case bool:
		var y bool
		y, known = b.(bool)
		same = x == y
	case int:
		var y int
		y, known = b.(int)
		same = x == y
	case float64:
		var y float64
		y, known = b.(float64)
		same = x == y
	case complex128:
		var y complex128
		y, known = b.(complex128)
		same = x == y
	case string:
		var y string
		y, known = b.(string)
		same = x == y
	default:
		known = false
	}
	if !known {
		return false, fmt.Errorf("incompatible types for comparison: %T and %T", a, b)
	}
	return same, nil
}

// less orders two numbers of one kind, or two strings.
func less(a, b any) (bool, error) {
	if x, ok := whole(a); ok {
		if y, ok := whole(b); ok {
			return x < y, nil
		}
	}
	switch x := a.(type) {
	case float64:
		if y, ok := b.(float64); ok {
			return x < y, nil
		}
	case string:
		if y, ok := b.(string); ok {
			return x < y, nil
		}
	}
	return false, fmt.Errorf("incompatible types for comparison: %T and %T", a, b)
}

func lessOrEqual(a, b any) (bool, error) {
	if before, err := less(a, b); before || err != nil {
		return before, err
	}
	return equal(a, b)
}
