package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// find returns a claim: of that very name, dots included, or else what a dotted path leads to through objects.
func find(claims map[string]any, name string) (any, bool) {
	if v, ok := claims[name]; ok {
		return v, true
	}
	for {
		first, rest, more := strings.Cut(name, ".")
		v, ok := claims[first]
		if !ok || !more {
			return v, ok
		}
		if claims, ok = v.(map[string]any); !ok {
			return nil, false
		}
		name = rest
	}
}

// text returns a claim that is a string; "" when it is something else, or not there.
func text(claims map[string]any, name string) string {
	if name == "" {
		return ""
	}
	v, _ := find(claims, name)
	s, _ := v.(string)
	return s
}

// list returns the strings of a claim that is a string or an array of some; not strings is false.
func list(claims map[string]any, name string) ([]string, bool) {
	v, ok := find(claims, name)
	if !ok {
		return nil, true
	}
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

// scopes returns what a claim lists in one string, blanks between (RFC 8693 §4.2), or in an array.
func scopes(claims map[string]any, name string) []string {
	var out []string
	entries, _ := list(claims, name)
	for _, e := range entries {
		out = append(out, strings.Fields(e)...)
	}
	return out
}

// date is a NumericDate (RFC 7519 §2) to the second, rounded down.
type date struct {
	unix int64
	said bool
}

func dateOf(claims map[string]any, name string) (date, error) {
	v, ok := claims[name]
	if !ok {
		return date{}, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return date{}, fmt.Errorf("%q is not a number", name)
	}
	f, err := n.Float64()
	if err != nil || math.Abs(f) > 1<<53 {
		return date{}, fmt.Errorf("%q is out of range", name)
	}
	return date{unix: int64(math.Floor(f)), said: true}, nil
}

// times are what a token says of when it is good (RFC 7519 §4.1.4 to §4.1.6).
type times struct{ expires, notBefore, issued date }

func timesOf(claims map[string]any) (t times, err error) {
	for _, d := range []struct {
		name string
		to   *date
	}{{"exp", &t.expires}, {"nbf", &t.notBefore}, {"iat", &t.issued}} {
		if *d.to, err = dateOf(claims, d.name); err != nil {
			return t, err
		}
	}
	return t, nil
}

// checker holds what tokens of one API have to say.
type checker struct {
	issuers, audiences              []string
	issuedSkew, expirySkew, nbfSkew int64 // seconds
}

func newChecker(m *config.JWTAuth) checker {
	seconds := func(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
	return checker{
		issuers: m.Issuers, audiences: m.Audiences,
		issuedSkew: seconds(m.IssuedSkew), expirySkew: seconds(m.ExpirySkew), nbfSkew: seconds(m.NotBeforeSkew),
	}
}

// now returns why a token is no good at that time.
func (c *checker) now(t *times, now time.Time) error {
	at := now.Unix()
	switch {
	case t.expires.said && at >= t.expires.unix+c.expirySkew:
		return untimely("token has expired")
	case t.issued.said && at < t.issued.unix-c.issuedSkew:
		return untimely("token used before issued")
	case t.notBefore.said && at < t.notBefore.unix-c.nbfSkew:
		return untimely("token is not valid yet")
	}
	return nil
}

// parties returns why a token is not from, or not for, whom it should be.
func (c *checker) parties(claims map[string]any) error {
	if len(c.issuers) > 0 {
		if issuer, ok := claims["iss"].(string); !ok || !slices.Contains(c.issuers, issuer) {
			return untimely("issuer is not admitted")
		}
	}
	if len(c.audiences) > 0 {
		audiences, _ := list(claims, "aud")
		if !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(c.audiences, a) }) {
			return untimely("audience is not admitted")
		}
	}
	return nil
}

// The refusals (reference §11). Their causes are for the log and hold nothing of a token that must not be there.

func missing(cause error) error {
	return &sdk.Error{Status: http.StatusBadRequest, Message: "Authorization field missing", Err: cause}
}

func unauthorized(cause error) error {
	return &sdk.Error{Status: http.StatusForbidden, Message: "Key not authorized", Err: cause}
}

func unexpectedMethod(cause error) error {
	return &sdk.Error{Status: http.StatusForbidden, Message: "Key not authorized: Unexpected signing method", Err: cause}
}

func untimely(why string) error {
	return &sdk.Error{Status: http.StatusUnauthorized, Message: "Key not authorized: " + why}
}

func nobody() error {
	return &sdk.Error{Status: http.StatusForbidden, Message: "Key not authorized: no claim says who calls"}
}

func noPolicy(why string, cause error) error {
	return &sdk.Error{Status: http.StatusForbidden, Message: "key not authorized: no matching policy" + why, Err: cause}
}

func noKeySet(cause error) error {
	return &sdk.Error{Status: http.StatusServiceUnavailable, Message: "Key not authorized: key set unavailable", Err: cause}
}

var errSignature = errors.New("the signature does not verify")
