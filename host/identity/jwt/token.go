package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxToken is the length in bytes over which a token is refused unread.
const MaxToken = 16 << 10

const (
	maxDepth = 64
	maxKeyID = 1 << 10 // bytes of a "kid"
)

// token is a token taken apart and not yet verified.
type token struct {
	signed          string // what the signature covers
	signature       []byte
	header, payload []byte // JSON objects as they stand
	claims          map[string]any
	algorithm, id   string // alg and kid
}

// parse takes a token apart. It refuses everything whose meaning two readers could see differently: escapes in base64
// that are not canonical, an object with the same key twice at whatever depth, text that is not UTF-8. Nothing of the
// token is in its errors but the names of keys.
func parse(text string) (*token, error) {
	if len(text) > MaxToken {
		return nil, fmt.Errorf("a token of %d bytes: at most %d", len(text), MaxToken)
	}
	if n := strings.Count(text, "."); n != 2 {
		return nil, fmt.Errorf("a token of %d parts: a signed one has 3", n+1)
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("a line break in the token") // which the decoder would pass over
	}
	dot := strings.LastIndexByte(text, '.')
	t := &token{signed: text[:dot]}
	header, payload, _ := strings.Cut(t.signed, ".")
	for _, part := range []struct {
		name, text string
		to         *[]byte
	}{{"header", header, &t.header}, {"payload", payload, &t.payload}, {"signature", text[dot+1:], &t.signature}} {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part.text)
		if err != nil {
			return nil, fmt.Errorf("the %s is not base64url: %w", part.name, err)
		}
		*part.to = decoded
	}
	fields, err := decodeObject(t.header)
	if err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	if err := t.readHeader(fields); err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	if t.claims, err = decodeObject(t.payload); err != nil {
		return nil, fmt.Errorf("the payload: %w", err)
	}
	return t, nil
}

// readHeader takes from the header (RFC 7515 §4.1) what counts, and refuses what would change the meaning of the rest.
func (t *token) readHeader(fields map[string]any) error {
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, ok := fields[name]; ok {
			return fmt.Errorf("%q is not supported", name)
		}
	}
	if cty, ok := fields["cty"].(string); ok && strings.EqualFold(strings.TrimPrefix(strings.ToLower(cty), "application/"), "jwt") {
		return errors.New("a token in a token is not supported")
	}
	var ok bool
	if t.algorithm, ok = fields["alg"].(string); !ok {
		return errors.New(`"alg" is not a string`)
	}
	if id, there := fields["kid"]; there {
		if t.id, ok = id.(string); !ok || len(t.id) > maxKeyID {
			return fmt.Errorf(`"kid" is not a string of at most %d bytes`, maxKeyID)
		}
	}
	return nil
}

// decodeObject reads a JSON object whose keys differ, at every depth. Numbers are json.Number.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something after the JSON object")
	}
	return object, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, syntax(err)
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("JSON deeper than %d", maxDepth)
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, syntax(err)
	}
	object := map[string]any{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, syntax(err)
		}
		name := key.(string) // the decoder takes nothing else for a key
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("the key %.40q stands there twice", name)
		}
		if object[name], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, syntax(err)
}

// syntax says what the decoder says without the characters it says it about.
func syntax(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("not JSON")
}
