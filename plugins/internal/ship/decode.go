package ship

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Decode reads a plugin's configuration into to, a pointer to a structure: a key that it does not know is an error, and none
// at all is {}. An error names the setting that is wrong.
func Decode(config json.RawMessage, to any) error {
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	err := strict(config, to)
	if err == nil {
		return nil
	}
	at := blame(config, reflect.TypeOf(to).Elem(), err)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && at != "" {
		err = fmt.Errorf("must be %s, not %s", kindName(wrong.Type), wrong.Value)
	}
	if at == "" {
		return err
	}
	if text, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fmt.Errorf("%s: unknown field %s", at, text)
	}
	return fmt.Errorf("%s: %w", at, err)
}

func strict(config []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the configuration")
	}
	return nil
}

// blame finds the setting without which a configuration would not have the error; "" when there is no one such. The decoder
// does not say where it was.
func blame(config []byte, into reflect.Type, err error) string {
	var document any
	if json.Unmarshal(config, &document) != nil {
		return ""
	}
	without := func(what any) bool {
		b, encoding := json.Marshal(what)
		if encoding != nil {
			return false
		}
		again := strict(b, reflect.New(into).Interface())
		return again == nil || again.Error() != err.Error()
	}
	return strings.TrimPrefix(find(document, document, without), ".")
}

// find looks below value, which is part of document, for the deepest part that can be left out to better effect.
func find(value, document any, without func(document any) bool) string {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			delete(v, name)
			better := without(document)
			v[name] = inner
			if better {
				return "." + name + find(inner, document, without)
			}
		}
	case []any:
		for i, inner := range v {
			v[i] = nil
			better := without(document)
			v[i] = inner
			if better {
				return "[" + strconv.Itoa(i) + "]" + find(inner, document, without)
			}
		}
	}
	return ""
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// Names are names of header fields, of which one that ends in * stands for all that begin so: the word "all", or a list.
type Names []string

// maxNames bounds a list, so that every request is matched quickly.
const maxNames = 256

// UnmarshalJSON accepts "all", or a list of names.
func (n *Names) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		if word != "all" {
			return fmt.Errorf("%q: the word all, or a list of names", word)
		}
		*n = Names{"*"}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return errors.New("neither the word all nor a list of names")
	}
	for _, name := range list {
		if begin := strings.TrimSuffix(name, "*"); name == "" || begin != "" && !sdk.ValidToken(begin) || strings.Contains(begin, "*") {
			return fmt.Errorf("%q is no name of a header field, nor the beginning of one with * behind it", name)
		}
	}
	if len(list) > maxNames {
		return fmt.Errorf("%d names: at most %d", len(list), maxNames)
	}
	*n = list
	return nil
}
