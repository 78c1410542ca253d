// Package httpsig reads signatures of a request's header as draft-cavage-http-signatures-10 has them, and makes the text
// that was signed. It holds no key: who verifies chooses the algorithm.
//
// Its errors quote nothing of a request.
package httpsig

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Bounds of a signature: bytes of its parameters, names it may sign, bytes of what was signed.
const (
	maxSignature = 8 << 10
	maxSigned    = 64
	maxMessage   = 256 << 10
)

var (
	errParameters = errors.New("parameters of the Signature scheme are malformed (draft-cavage-http-signatures-10 §2.1)")
	errParameter  = errors.New("a parameter of the Signature scheme is missing or comes twice")
	errBase64     = errors.New("the signature is not base64")
	errTooLong    = errors.New("the signature, or what was signed, is too long")
	errSigned     = errors.New("the list of signed headers is malformed, or names one that is not there")
)

// Signature is what a client says of its signature.
type Signature struct {
	KeyID     string
	Algorithm string   // as it came; may be empty
	Headers   []string // names of what was signed, in lower case and in order; none twice
	MAC       []byte   // the signature itself, of HMAC or not
}

// Parse reads what is behind the scheme Signature (draft-cavage-http-signatures-10 §2.1, §3.1.1): name=value pairs with
// commas between them, values quoted or not. Unknown parameters are passed over; known ones come once. Without headers,
// the date alone is signed. The signature is base64, URL-encoded or not.
func Parse(s string) (*Signature, error) {
	rest := trim(s)
	if len(rest) > maxSignature {
		return nil, errTooLong
	}
	var keyID, algorithm, headers, mac string
	for {
		name, value, after, ok := parameter(rest)
		if !ok {
			return nil, errParameters
		}
		to := new(string)
		switch strings.ToLower(name) {
		case "keyid":
			to = &keyID
		case "algorithm":
			to = &algorithm
		case "headers":
			to = &headers
		case "signature":
			to = &mac
		}
		if *to != "" || value == "" {
			return nil, errParameter
		}
		*to = value
		if after == "" {
			break
		}
		rest = after
	}
	if keyID == "" || mac == "" {
		return nil, errParameter
	}
	if headers == "" {
		headers = "date"
	}
	names, ok := signedNames(headers)
	if !ok {
		return nil, errSigned
	}
	decoded, err := decodeSignature(mac)
	if err != nil {
		return nil, err
	}
	return &Signature{KeyID: keyID, Algorithm: algorithm, Headers: names, MAC: decoded}, nil
}

// parameter reads one auth-param (RFC 9110 §11.2) and the comma behind it. after is what follows it, and is not empty
// when there was a comma.
func parameter(s string) (name, value, after string, ok bool) {
	name, s, ok = strings.Cut(s, "=")
	name, s = trim(name), trim(s)
	if !ok || !sdk.ValidToken(name) || s == "" {
		return "", "", "", false
	}
	if s[0] == '"' {
		value, s, ok = quotedString(s[1:])
	} else if end := strings.IndexAny(s, ", \t"); end >= 0 {
		value, s = s[:end], s[end:]
	} else {
		value, s = s, ""
	}
	if s = trim(s); !ok || strings.Contains(value, `"`) || s != "" && s[0] != ',' {
		return "", "", "", false
	}
	if s != "" {
		if s = trim(s[1:]); s == "" {
			return "", "", "", false // a comma, and nothing behind it
		}
	}
	return name, value, s, true
}

// quotedString reads the rest of a quoted string (RFC 9110 §5.6.4) and returns what is behind it. No value that a
// signature has needs a backslash: one that has any is refused.
func quotedString(s string) (value, after string, ok bool) {
	end := strings.IndexByte(s, '"')
	if end < 0 || strings.IndexByte(s[:end], '\\') >= 0 {
		return "", "", false
	}
	return s[:end], s[end+1:], true
}

// signedNames splits a list of header names; each comes once.
func signedNames(s string) ([]string, bool) {
	names := strings.Fields(strings.ToLower(s))
	if len(names) == 0 || len(names) > maxSigned {
		return nil, false
	}
	for i, name := range names {
		if name != RequestTarget && !sdk.ValidToken(name) {
			return nil, false
		}
		for _, earlier := range names[:i] {
			if earlier == name {
				return nil, false
			}
		}
	}
	return names, true
}

// decodeSignature decodes base64, URL-encoded or not. A "+" is itself in both.
func decodeSignature(s string) ([]byte, error) {
	if strings.IndexByte(s, '%') >= 0 {
		var err error
		if s, err = url.PathUnescape(s); err != nil {
			return nil, errBase64
		}
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, errBase64
	}
	return b, nil
}

// trim takes optional white space off (RFC 9110 §5.6.3).
func trim(s string) string { return strings.Trim(s, " \t") }
