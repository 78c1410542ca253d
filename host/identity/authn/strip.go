package authn

import (
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Strip takes credentials off requests before they go upstream. It is immutable; a nil Strip leaves requests alone.
type Strip struct{ headers, params, cookies []string }

// NewStrip returns what takes off the credentials of all of an API's methods, those in groups included, whichever of
// them let the caller in; nil when the definition does not ask for it. An auth hook does not say where it looks: the
// Authorization header is taken off for it, the credential that the definition says hooks look for, and what its id
// extractor reads from a header or the query. Bodies stay.
func NewStrip(a *config.Auth, hooks config.Credential) *Strip {
	if !a.Strip {
		return nil
	}
	return places(a, hooks)
}

// Places returns the query parameters and the header fields that hold credentials of an API's methods, see NewStrip.
func Places(a *config.Auth, hooks config.Credential) (params, headers []string) {
	s := places(a, hooks)
	if len(s.cookies) > 0 {
		s.headers = with(s.headers, "Cookie")
	}
	return s.params, s.headers
}

func places(a *config.Auth, hooks config.Credential) *Strip {
	s := &Strip{}
	a.Walk(func(m *config.AuthMethod) {
		switch m.Kind {
		case config.AuthToken:
			s.add(m.Token.Credential)
			if m.Token.Signature.Algorithm != "" {
				s.add(config.Credential{Header: m.Token.Signature.Header, Param: m.Token.Signature.Param})
			}
		case config.AuthBasic:
			s.add(m.Basic.Credential)
		case config.AuthHMAC:
			s.add(m.HMAC.Credential)
		case config.AuthJWT:
			s.add(m.JWT.Credential)
		case config.AuthHook:
			s.add(config.Credential{Header: "Authorization"})
			s.add(hooks)
			switch e := &m.Hook.Extractor; e.From {
			case config.ExtractHeader:
				s.add(config.Credential{Header: e.Name})
			case config.ExtractQuery, config.ExtractForm: // a form's fields may stand in the query
				s.add(config.Credential{Param: e.Name})
			}
		}
	})
	return s
}

func (s *Strip) add(c config.Credential) {
	s.headers, s.params, s.cookies = with(s.headers, c.Header), with(s.params, c.Param), with(s.cookies, c.Cookie)
}

func with(names []string, name string) []string {
	if name == "" || slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// Apply takes the credentials off, all values of each.
func (s *Strip) Apply(x *sdk.Exchange) {
	if s == nil {
		return
	}
	r := x.Request()
	for _, name := range s.headers {
		r.Header().Remove(name)
	}
	for _, name := range s.params {
		if r.Query().Has(name) {
			r.Query().Del(name)
		}
	}
	if len(s.cookies) > 0 {
		s.stripCookies(r.Header())
	}
}

// stripCookies leaves the other cookies, in one line.
func (s *Strip) stripCookies(h *sdk.Header) {
	var kept []string
	found := false
	for _, line := range h.Fields() {
		if !sdk.EqualFold(line.Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(line.Value, ";") {
			pair = trim(pair)
			if name, _, ok := strings.Cut(pair, "="); ok && slices.Contains(s.cookies, name) {
				found = true
			} else if pair != "" {
				kept = append(kept, pair)
			}
		}
	}
	switch {
	case !found:
	case len(kept) == 0:
		h.Remove("Cookie")
	default:
		h.Replace("Cookie", strings.Join(kept, "; "))
	}
}
