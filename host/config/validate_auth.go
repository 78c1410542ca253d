package config

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// auth checks who may call.
func (v *validator) auth(d *Definition) {
	a := &d.Auth
	some := len(a.All)+len(a.Any) > 0
	switch {
	case len(d.Hooks.Auth) > 0 && some:
		v.errorf("$.hooks.auth", "auth hooks are listed under auth too: put them all there, as `- hook: {hook: NAME}`")
	case d.Keyless && some:
		v.errorf("$.auth", "a keyless API asks nobody who they are")
	case !d.Keyless && !some:
		v.errorf("$.auth", "an API that is not keyless needs a method of authentication")
	}
	if len(a.All) > 0 && len(a.Any) > 0 {
		v.errorf("$.auth.any", "all and any stand side by side: put one into the other")
	}
	if !some && len(d.Hooks.PostKeyAuth) > 0 {
		v.errorf("$.hooks.post_key_auth", "post_key_auth hooks run after authentication, and there is none: list them under pre or post")
	}
	names := map[string]bool{}
	a.Walk(func(m *AuthMethod) {
		if group := m.Kind == AuthAll || m.Kind == AuthAny; !group { // which has no session of its own
			if names[m.Name] {
				v.errorf(m.Path, "a second method named %q: give one of them another name", m.Name)
			}
			names[m.Name] = true
		}
		v.method(d, m.Path, m)
	})
	if a.Identity != "" && !names[a.Identity] {
		v.errorf("$.auth.identity", "no method is named %q", a.Identity)
	}
	v.rate("$.limits.rate", d.Limits.Rate)
	for _, tag := range slices.Sorted(maps.Keys(d.Limits.Tags)) {
		v.rate("$.limits.tags."+tag, d.Limits.Tags[tag])
	}
}

func (v *validator) rate(at string, r Rate) {
	if (r.Requests > 0) != (r.Per > 0) {
		v.errorf(at, "a rate has requests and per, such as {requests: 100, per: 1s}")
	}
}

func (v *validator) method(d *Definition, at string, m *AuthMethod) {
	switch m.Kind {
	case AuthToken:
		v.credential(at, m.Token.Credential, m.Token.Certificate)
		v.signature(at+".signature", &m.Token.Signature)
	case AuthBasic:
		v.credential(at, m.Basic.Credential, m.Basic.BodyUser != "")
		v.bodyExpressions(at, &m.Basic)
	case AuthHMAC:
		v.credential(at, m.HMAC.Credential, false)
		v.hmac(at, &m.HMAC)
	case AuthJWT:
		v.credential(at, m.JWT.Credential, false)
		v.jwt(at, &m.JWT)
	case AuthCertificate:
		for i, f := range m.Certificate.Allow {
			if len(f) != 64 || strings.Trim(f, "0123456789abcdef") != "" {
				v.errorf(document.Index(at+".allow", i), "must be the SHA-256 of a certificate in 64 lower-case hex digits")
			}
		}
	case AuthHook:
		v.server(d, at, m.Hook.Server)
		v.hookName(at+".hook", m.Hook.Name)
		v.policy(at, &m.Hook.Policy)
		if m.Hook.OnError == OnErrorSkip {
			v.errorf(at+".on_error", "an auth hook that fails must fail the request: skip would let everyone in")
		}
		v.extractor(at+".id_extractor", &m.Hook.Extractor)
	case AuthAll, AuthAny:
		if len(m.Group) == 0 {
			v.errorf(at, "a group needs methods")
		}
	}
}

func (v *validator) credential(at string, c Credential, otherwise bool) {
	if c.Header != "" && !isToken(c.Header) {
		v.errorf(at+".header", "%q is not a header name", c.Header)
	}
	if c.Cookie != "" && !isToken(c.Cookie) {
		v.errorf(at+".cookie", "%q is not a cookie name", c.Cookie)
	}
	if c == (Credential{}) && !otherwise {
		v.errorf(at, "the credential is nowhere to be found: name a header, param or cookie")
	}
}

func (v *validator) signature(at string, s *SignatureAuth) {
	if s.Algorithm == "" {
		return
	}
	if s.Algorithm != "MasherySHA256" && s.Algorithm != "MasheryMD5" {
		v.errorf(at+".algorithm", "%q must be MasherySHA256 or MasheryMD5", s.Algorithm)
	}
	if s.Secret == "" {
		v.errorf(at+".secret", "a secret is required")
	}
	if s.Header == "" && s.Param == "" {
		v.errorf(at, "the signature is nowhere to be found: name a header or query parameter")
	}
	if s.Status != 0 && http.StatusText(s.Status) == "" {
		v.errorf(at+".status", "%d is not a status code", s.Status)
	}
}

func (v *validator) bodyExpressions(at string, b *BasicAuth) {
	if (b.BodyUser == "") != (b.BodyPassword == "") {
		v.errorf(at, "body_user and body_password come together")
	}
	for _, e := range []struct{ key, text string }{{".body_user", b.BodyUser}, {".body_password", b.BodyPassword}} {
		if e.text == "" {
			continue
		}
		if re, err := regexp.Compile(e.text); err != nil {
			v.errorf(at+e.key, "%q is not a regular expression (RE2): %s", e.text, err)
		} else if re.NumSubexp() == 0 {
			v.errorf(at+e.key, "%q needs a group around what is to be taken", e.text)
		}
	}
}

// HMACAlgorithms are the signature algorithms there are.
func HMACAlgorithms() []string {
	return []string{"hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512", "rsa-sha256"}
}

func (v *validator) hmac(at string, h *HMACAuth) {
	for i, a := range h.Algorithms {
		if !slices.Contains(HMACAlgorithms(), a) {
			v.errorf(document.Index(at+".algorithms", i), "%q must be one of %s", a, strings.Join(HMACAlgorithms(), ", "))
		}
	}
	if len(h.Algorithms) == 0 {
		v.errorf(at+".algorithms", "name at least one algorithm")
	}
	if h.Once && h.Skew == 0 {
		v.errorf(at+".once", "a signature without a date that is looked at can be replayed for ever: set skew")
	}
}

func (v *validator) jwt(at string, j *JWTAuth) {
	if j.Method == "" {
		v.errorf(at+".method", "name the family of algorithms: hmac, rsa, ecdsa or eddsa")
	}
	if j.Source != "" && len(j.JWKS) > 0 {
		v.errorf(at+".source", "source and jwks exclude each other")
	}
	if j.Method == JWTHMAC && len(j.JWKS) > 0 {
		v.errorf(at+".jwks", "key sets hold public keys, and hmac needs a secret: set source")
	}
	for i, s := range j.JWKS {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			v.errorf(document.Index(at+".jwks", i)+".url", "%q must be an http(s) URL", s.URL)
		}
	}
	if j.Source != "" && j.Method != JWTHMAC && !strings.Contains(j.Source, "-----BEGIN") {
		if pem, err := base64.StdEncoding.DecodeString(j.Source); err != nil || !strings.Contains(string(pem), "-----BEGIN") {
			v.errorf(at+".source", "must be a public key in PEM, or base64 of it")
		}
	}
}

// extractor refuses what would extract nothing, and so give every caller one session.
func (v *validator) extractor(at string, e *IDExtractor) {
	if e.From == "" && e.With == "" {
		if *e != (IDExtractor{}) {
			v.errorf(at, "from and with are required")
		}
		return
	}
	switch {
	case e.From == "" || e.With == "":
		v.errorf(at, "from and with come together")
	case e.From == ExtractBody && e.With == ExtractValue:
		v.errorf(at+".with", "a whole body is no id: use regex or xpath")
	case e.From != ExtractBody && e.Name == "":
		v.errorf(at+".name", "the name of the %s is required", map[ExtractFrom]string{
			ExtractHeader: "header", ExtractQuery: "query parameter", ExtractForm: "form field"}[e.From])
	case e.With != ExtractValue && e.Expression == "":
		v.errorf(at+".expression", "%s needs an expression", e.With)
	}
	if e.With == ExtractRegex && e.Expression != "" {
		if _, err := regexp.Compile(e.Expression); err != nil {
			v.errorf(at+".expression", "%q is not a regular expression (RE2): %s", e.Expression, err)
		}
	}
	if e.Index < 0 {
		v.errorf(at+".index", "must not be negative")
	}
}
