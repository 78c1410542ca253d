package document

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// field is a struct field as a file names it.
type field struct {
	key      string
	index    []int
	positive bool
}

// fieldsOf lists the keys of a struct type, those of inlined structs among them.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case key == "-", !f.IsExported():
		case options == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
		case key == "":
			panic(fmt.Sprintf("document: field %s of %s has no yaml key", f.Name, t))
		default:
			out = append(out, field{key: key, index: []int{i}, positive: options == "positive"})
		}
	}
	return out
}

// Leaf is a place in a struct type that holds one value, a list, or a mapping to scalars.
type Leaf struct {
	// Keys lead to it; "*" stands for any key of a mapping to structs.
	Keys []string
	Type reflect.Type

	steps [][]int // to each key's field; nil for a mapping's
}

// Leaves lists every leaf of a struct type as the Decoder sees it, in the order of the fields.
func Leaves(t reflect.Type) []Leaf {
	var out []Leaf
	for _, f := range fieldsOf(t) {
		keys, steps, inner := []string{f.key}, [][]int{f.index}, t.FieldByIndex(f.index).Type
		if inner.Kind() == reflect.Map && inner.Elem().Kind() == reflect.Struct {
			keys, steps, inner = append(keys, "*"), append(steps, nil), inner.Elem()
		}
		if decodesItself(inner) || inner.Kind() != reflect.Struct {
			out = append(out, Leaf{Keys: keys, Type: inner, steps: steps})
			continue
		}
		for _, leaf := range Leaves(inner) {
			leaf.Keys, leaf.steps = slices.Concat(keys, leaf.Keys), slices.Concat(steps, leaf.steps)
			out = append(out, leaf)
		}
	}
	return out
}

// In returns the leaf's value in v, of the type whose Leaves it is one of. "*" is looked for as a key of that name. It is
// not valid where a mapping has no such key.
func (l Leaf) In(v reflect.Value) reflect.Value {
	for i, step := range l.steps {
		switch {
		case !v.IsValid():
			return v
		case step == nil:
			v = v.MapIndex(reflect.ValueOf(l.Keys[i]))
		default:
			v = v.FieldByIndex(step)
		}
	}
	return v
}

func decodesItself(t reflect.Type) bool {
	pointer := reflect.PointerTo(t)
	return pointer.Implements(reflect.TypeFor[Unmarshaler]()) || pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (d *Decoder) structure(n *Node, v reflect.Value) {
	switch n.Kind {
	case Null:
		return
	case Mapping:
	default:
		d.wrong(n, "a mapping")
		return
	}
	fields := fieldsOf(v.Type())
	for _, entry := range n.Fields {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == entry.Key })
		if i < 0 {
			d.unknown(entry, v, fields)
			continue
		}
		target := v.FieldByIndex(fields[i].index)
		before := len(d.Problems)
		d.value(entry.Value, target)
		if fields[i].positive && len(d.Problems) == before && !above(target) {
			d.Errorf(entry.Value, "must be greater than 0")
		}
	}
}

func above(v reflect.Value) bool {
	if v.CanFloat() {
		return v.Float() > 0
	}
	return v.Int() > 0
}

func (d *Decoder) unknown(entry Field, v reflect.Value, fields []field) {
	if refuser, ok := v.Addr().Interface().(KeyRefuser); ok {
		if why, refused := refuser.RefusedKey(entry.Key); refused {
			d.Errorf(entry.Value, "%s", why)
			return
		}
	}
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	d.Report(entry.Value.At(Error, Suggest(entry.Key, keys), "unknown key"))
}

// Suggest returns `did you mean "x"?` when one of the known words is close to word, the list of
// known words when it is short, and otherwise nothing.
func Suggest(word string, known []string) string {
	if len(word) > maxPathKey {
		return ""
	}
	best, bestDistance := "", 3
	for _, k := range known {
		distance := editDistance(strings.ToLower(word), strings.ToLower(k))
		if (strings.HasPrefix(k, word) || strings.HasPrefix(word, k)) && len(word) > 2 && len(k) > 2 {
			distance = min(distance, 2)
		}
		if distance < bestDistance && distance < len(word) {
			best, bestDistance = k, distance
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) > 0 && len(known) <= 8 {
		return "known here: " + strings.Join(known, ", ")
	}
	return ""
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
