package identity

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Bounds of a session's or policy's JSON.
const (
	MaxJSON  = 1 << 20 // bytes
	maxDepth = 64
)

// Names match whatever their case, as they do in Tyk, but with their underscores: a policy has an "id" and an "_id". Of a
// name that comes twice the last counts.
var decoding = func() json.Options {
	return json.JoinOptions(json.MatchCaseInsensitiveNames(true), jsonv1.MatchCaseSensitiveDelimiter(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}()

// Zero fields are left out, and the same value is the same bytes.
var encoding = func() json.Options {
	return json.JoinOptions(json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}()

// Without the methods, which would call themselves.
type (
	bareSession Session
	barePolicy  Policy
)

// DecodeSession reads a session. What is no session, larger than MaxJSON or nested too deep is ErrInvalid.
func DecodeSession(data []byte) (*Session, error) {
	s := &Session{}
	if err := s.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalJSON is DecodeSession's, over what s is.
func (s *Session) UnmarshalJSON(data []byte) error { return decode("session", data, (*bareSession)(s)) }

// MarshalJSON leaves out what is zero. Equal sessions give equal bytes.
func (s *Session) MarshalJSON() ([]byte, error) { return encode("session", (*bareSession)(s)) }

// DecodePolicy reads a policy. What is no policy, larger than MaxJSON or nested too deep is ErrInvalid.
func DecodePolicy(data []byte) (*Policy, error) {
	p := &Policy{}
	if err := p.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	return p, nil
}

// UnmarshalJSON is DecodePolicy's, over what p is.
func (p *Policy) UnmarshalJSON(data []byte) error { return decode("policy", data, (*barePolicy)(p)) }

// MarshalJSON leaves out what is zero. Equal policies give equal bytes.
func (p *Policy) MarshalJSON() ([]byte, error) { return encode("policy", (*barePolicy)(p)) }

func decode(what string, data []byte, into any) error {
	if len(data) > MaxJSON {
		return fmt.Errorf("%w %s: %d bytes of JSON, at most %d", ErrInvalid, what, len(data), MaxJSON)
	}
	if document.Deeper(data, maxDepth) {
		return fmt.Errorf("%w %s: JSON nested deeper than %d", ErrInvalid, what, maxDepth)
	}
	if err := json.Unmarshal(data, into, decoding); err != nil {
		return fmt.Errorf("%w %s: %s", ErrInvalid, what, describe(err))
	}
	return nil
}

func encode(what string, from any) ([]byte, error) {
	data, err := json.Marshal(from, encoding)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %s", ErrInvalid, what, describe(err))
	}
	return data, nil
}

// describe says where JSON is wrong without a value of it, which may be a secret.
func describe(err error) string {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		if semantic.JSONPointer == "" {
			return "must be a JSON object"
		}
		return fmt.Sprintf("%s: a JSON %s cannot stand there", semantic.JSONPointer, semantic.JSONKind)
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return fmt.Sprintf("not JSON at byte %d", syntactic.ByteOffset)
	}
	return "not JSON" // without the text, since its origin is not known
}

// UnmarshalJSONFrom keeps strings as such and every other value as its JSON.
func (m *Metadata) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	start, err := d.ReadToken()
	switch {
	case err != nil:
		return err
	case start.Kind() == jsontext.KindNull:
		*m = nil
		return nil
	case start.Kind() != jsontext.KindBeginObject:
		return errors.New("must be an object")
	}
	if *m == nil {
		*m = Metadata{}
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		key := name.String()
		if d.PeekKind() == jsontext.KindString {
			value, err := d.ReadToken()
			if err != nil {
				return err
			}
			(*m)[key] = value.String()
			continue
		}
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		value = value.Clone()
		if err := value.Compact(); err != nil {
			return err
		}
		(*m)[key] = stdjson.RawMessage(value)
	}
	_, err = d.ReadToken()
	return err
}
