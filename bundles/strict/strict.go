// Package strict decodes JSON (RFC 8259) of which there must be one reading only. Duplicate members, members that
// differ in case only from one that is known, bytes that are not UTF-8, and anything behind the value are errors,
// and so is what is larger or deeper than the bounds.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of a document.
const (
	MaxDepth  = 32
	MaxString = 64 << 10 // bytes of one string, as it stands in the document
	MaxList   = 64 << 10 // values of one list, members of one object: what is decoded is many times larger than its text
)

// Canonical decodes data into value, a pointer, and demands that encoding value again gives the same bytes. So there
// is exactly one document for a value. The caller bounds its size.
func Canonical(data []byte, value any) error {
	if err := check(data, len(data)); err != nil {
		return err
	}
	if err := decode(data, value, true); err != nil {
		return err
	}
	again, err := Encode(value)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errors.New("not in canonical form")
	}
	return nil
}

// Encode returns the canonical form of value: members in the order of the struct, no blanks, no escapes that JSON
// does not demand, no newline at the end.
func Encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode decodes data, as people write it, into value, a pointer; members that value does not know and strings over
// MaxString are errors.
func Decode(data []byte, value any) error {
	if err := check(data, MaxString); err != nil {
		return err
	}
	return decode(data, value, true)
}

// DecodeOpen is Decode for formats of others, where unknown members are left alone. Two members of one object
// that differ in case only are an error there too.
func DecodeOpen(data []byte, value any) error {
	if err := check(data, MaxString); err != nil {
		return err
	}
	return decode(data, value, false)
}

func decode(data []byte, value any, closed bool) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if closed {
		d.DisallowUnknownFields()
	}
	return d.Decode(value)
}

// check reads the document once as tokens. encoding/json takes the last of two members and folds case, so an object
// in which no two names are equal but for case has one reading.
func check(data []byte, longest int) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	if err := lengths(data, longest); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// lengths bounds strings before the decoder copies them, and nesting before it recurses.
func lengths(data []byte, longest int) error {
	depth, start := 0, -1
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case start >= 0 && c == '\\':
			i++
		case start >= 0 && c == '"':
			if i-start > longest {
				return fmt.Errorf("a string is longer than %d bytes", longest)
			}
			start = -1
		case start >= 0:
		case c == '"':
			start = i
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("nested deeper than %d", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func checkValue(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		names := map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, ok := key.(string)
			if !ok {
				return errors.New("a member's name is no string")
			}
			folded := strings.ToLower(strings.ToUpper(name)) // both ways, as for ſ and the Kelvin sign
			if len(names) == MaxList {
				return fmt.Errorf("an object of more than %d members", MaxList)
			}
			if names[folded] {
				return fmt.Errorf("the member %q stands twice", name)
			}
			names[folded] = true
			if err := checkValue(d); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('['):
		for n := 0; d.More(); n++ {
			if n == MaxList {
				return fmt.Errorf("a list of more than %d values", MaxList)
			}
			if err := checkValue(d); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}
