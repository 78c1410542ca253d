package authn

import (
	"errors"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxCredential bounds a credential in bytes, whatever the front lets through; JWTs are the longest.
const maxCredential = 32 << 10

// Credential finds a credential in a request. The zero value finds none.
type Credential struct{ header, param, cookie string }

// NewCredential takes over where the definition says the credential is.
func NewCredential(c config.Credential) Credential {
	return Credential{header: c.Header, param: c.Param, cookie: c.Cookie}
}

// Find returns the credential as it came: a cookie's, else a query parameter's, else a header's. What is there but empty
// counts as absent. The error says for the log that there is none, that one place has several that differ, or that it
// is absurdly long. Find allocates nothing when the credential is in the header or a cookie.
func (c Credential) Find(x *sdk.Exchange) (string, error) {
	r := x.Request()
	var f finding
	if c.cookie != "" {
		for _, line := range r.Header().Fields() {
			if sdk.EqualFold(line.Name, "Cookie") {
				f.cookies(line.Value, c.cookie)
			}
		}
	}
	if c.param != "" && f.value == "" {
		for name, value := range r.Query().All() {
			if name == c.param {
				f.take(value)
			}
		}
	}
	if c.header != "" && f.value == "" {
		f.header(r.Header(), c.header)
	}
	return f.result()
}

// A finding is the one value there may be.
type finding struct {
	value string
	err   error
}

func (f *finding) take(value string) {
	switch {
	case value == "" || value == f.value:
	case f.value != "":
		f.err = errAmbiguous
	case len(value) > maxCredential:
		f.value, f.err = value, errTooLong
	default:
		f.value = value
	}
}

func (f *finding) header(h *sdk.Header, name string) {
	for _, line := range h.Fields() {
		if sdk.EqualFold(line.Name, name) {
			f.take(line.Value)
		}
	}
}

func (f *finding) cookies(line, name string) {
	for line != "" {
		var pair string
		pair, line, _ = strings.Cut(line, ";")
		if n, value, ok := strings.Cut(trim(pair), "="); ok && n == name {
			f.take(unquoted(value))
		}
	}
}

func (f *finding) result() (string, error) {
	switch {
	case f.err != nil:
		return "", f.err
	case f.value == "":
		return "", errMissing
	}
	return f.value, nil
}

// IsMissing reports whether an error, of Find or of an Authenticator, says that there is no credential for the method, which in
// a group of which one suffices is no attempt.
func IsMissing(err error) bool { return errors.Is(err, errMissing) }

// Else returns an error that is IsMissing for a credential of the schemes Basic or Signature, where neither is asked for.
func Else(credential string) error {
	for _, name := range []string{"Basic", "Signature"} {
		if _, ok := scheme(credential, name); ok {
			return errElse
		}
	}
	return nil
}

// TrimBearer takes off the scheme Bearer (RFC 6750 §2.1), if it is there, and blanks around the token.
func TrimBearer(s string) string {
	if rest, ok := scheme(s, "Bearer"); ok {
		return rest
	}
	return trim(s)
}

// scheme returns what follows an authentication scheme (RFC 9110 §11.4) and at least one blank.
func scheme(s, name string) (string, bool) {
	s = trim(s)
	if len(s) <= len(name) || s[len(name)] != ' ' || !sdk.EqualFold(s[:len(name)], name) {
		return "", false
	}
	return trim(s[len(name):]), true
}

// trim takes optional white space off (RFC 9110 §5.6.3).
func trim(s string) string {
	for s != "" && blank(s[0]) {
		s = s[1:]
	}
	for s != "" && blank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// unquoted takes the quotes off a cookie's value (RFC 6265 §4.1.1).
func unquoted(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
