package tyk

import (
	"encoding/base64"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// The names by which base_identity_provided_by calls the methods.
const (
	nameToken  = "auth_token"
	nameBasic  = "basic_auth_user"
	nameHMAC   = "hmac_key"
	nameJWT    = "jwt_claim"
	nameCustom = "custom_auth"
)

// auth translates the methods of authentication, in the order in which Tyk asks them, whatever the order of the fields
// (reference §2.1): every one must let the caller in.
func (t *translation) auth() {
	d := &t.def
	keyless := t.get("use_keyless")
	d.Keyless = t.truth(keyless)
	t.credential(t.get("auth_configs", "coprocess"), &d.Credential)
	if d.Keyless {
		t.keyless()
		return
	}
	if keyless != nil && keyless.Kind != document.Bool {
		return // refused for its type
	}
	t.certificates()
	t.basic()
	t.hmac()
	t.jwt()
	t.custom()
	identified := slices.ContainsFunc(d.Auth.All, func(m config.AuthMethod) bool { return m.Kind != config.AuthCertificate })
	if standard := t.get("use_standard_auth"); t.truth(standard) || !identified {
		t.token(t.at(standard))
	}
	if provider := t.from("$.auth.identity", t.get("base_identity_provided_by")); provider != nil {
		d.Auth.Identity = t.text(provider)
	}
	d.Auth.Strip = t.truth(t.get("strip_auth_data"))
	d.Auth.Lifetime = t.seconds(t.from("$.auth.session_lifetime", t.get("session_lifetime")))
	d.Auth.RespectExpiry = t.truth(t.get("session_lifetime_respects_key_expiration"))
}

// keyless says which methods use_keyless turns off, and refuses what it would leave unprotected.
func (t *translation) keyless() {
	for _, key := range []string{"use_standard_auth", "use_basic_auth", "enable_signature_checking", "enable_jwt",
		"custom_plugin_auth_enabled", "enable_coprocess_auth", "use_go_plugin_auth"} {
		if n := t.get(key); t.truth(n) {
			t.report(n, document.Ignored, "", "use_keyless turns every method of authentication off")
		}
	}
	check := t.get("custom_middleware", "auth_check")
	if check != nil && t.text(get(check, "name")) != "" && !truthy(get(check, "disabled")) {
		t.report(check, document.Ignored, "", "use_keyless removes auth_check and post_key_auth hooks")
	}
	if n := t.get("use_mutual_tls_auth"); t.truth(n) {
		t.errorf(n, "client certificates without any key are not supported: write a native definition with `auth: {all: [{certificate: {only: true, allow: [...]}}]}`")
	}
}

// method adds a method and remembers the node it comes from.
func (t *translation) method(n *document.Node, m config.AuthMethod) {
	path := document.Index("$.auth.all", len(t.def.Auth.All))
	t.from(path, n)
	t.def.Auth.All = append(t.def.Auth.All, m)
}

func (t *translation) credential(n *document.Node, c *config.Credential) {
	*c = config.Credential{Header: "Authorization"}
	if header := t.text(get(n, "auth_header_name")); header != "" {
		c.Header = header
	}
	if t.truth(get(n, "use_param")) {
		if c.Param = t.text(get(n, "param_name")); c.Param == "" {
			c.Param = c.Header
		}
	}
	if t.truth(get(n, "use_cookie")) {
		if c.Cookie = t.text(get(n, "cookie_name")); c.Cookie == "" {
			c.Cookie = c.Header
		}
	}
	if t.truth(get(n, "disable_header")) {
		c.Header = ""
	}
}

// configOf returns where a method's options are: under auth_configs, or in the older auth, which tokens and JWTs share.
func (t *translation) configOf(name string) *document.Node {
	if n := t.get("auth_configs", name); n != nil {
		return n
	}
	if name == "authToken" || name == "jwt" {
		return t.get("auth")
	}
	return nil
}

func (t *translation) token(at *document.Node) {
	n := t.configOf("authToken")
	m := config.AuthMethod{Kind: config.AuthToken, Name: nameToken}
	t.credential(n, &m.Token.Credential)
	m.Token.Certificate = t.truth(get(n, "use_certificate"))
	if t.truth(get(n, "validate_signature")) {
		s, out := get(n, "signature"), &m.Token.Signature
		out.Algorithm, out.Header, out.Secret = t.text(get(s, "algorithm")), t.text(get(s, "header")), t.text(get(s, "secret"))
		if t.truth(get(s, "use_param")) {
			out.Param = t.text(get(s, "param_name"))
		}
		out.Skew = t.seconds(get(s, "allowed_clock_skew"))
		out.Status, out.Message = int(t.number(get(s, "error_code"))), t.text(get(s, "error_message"))
		if out.Algorithm == "" {
			t.errorf(n, "validate_signature is on, and no signature.algorithm is named")
		}
	}
	if n != nil {
		at = n
	}
	t.method(at, m)
}

func (t *translation) basic() {
	on, n := t.get("use_basic_auth"), t.get("basic_auth")
	if !t.truth(on) {
		return
	}
	m := config.AuthMethod{Kind: config.AuthBasic, Name: nameBasic}
	b := &m.Basic
	t.credential(t.configOf("basic"), &b.Credential)
	b.NoCache = t.truth(get(n, "disable_caching"))
	if b.CacheFor = t.seconds(get(n, "cache_ttl")); b.CacheFor == 0 {
		b.CacheFor = config.DefaultBasicCache
	}
	if t.truth(get(n, "extract_from_body")) {
		b.BodyUser, b.BodyPassword = t.text(get(n, "body_user_regexp")), t.text(get(n, "body_password_regexp"))
		if b.BodyUser == "" || b.BodyPassword == "" {
			t.errorf(n, "extract_from_body is on, and body_user_regexp or body_password_regexp is missing")
		}
	}
	t.method(on, m)
}

func (t *translation) hmac() {
	on := t.get("enable_signature_checking")
	if !t.truth(on) {
		return
	}
	m := config.AuthMethod{Kind: config.AuthHMAC, Name: nameHMAC}
	t.credential(t.configOf("hmac"), &m.HMAC.Credential)
	if m.HMAC.Algorithms = t.list(t.get("hmac_allowed_algorithms")); len(m.HMAC.Algorithms) == 0 {
		m.HMAC.Algorithms = config.HMACAlgorithms()
	}
	skew := t.get("hmac_allowed_clock_skew")
	var ms float64
	if skew != nil {
		t.decoder.Decode(skew, &ms)
	}
	if ms > 0 {
		m.HMAC.Skew = duration(ms, time.Millisecond)
	}
	t.method(on, m)
}

func (t *translation) jwt() {
	on := t.get("enable_jwt")
	if !t.truth(on) {
		return
	}
	m := config.AuthMethod{Kind: config.AuthJWT, Name: nameJWT}
	j := &m.JWT
	t.credential(t.configOf("jwt"), &j.Credential)
	j.Method = config.JWTHMAC
	if method := t.get("jwt_signing_method"); t.text(method) != "" {
		t.decoder.Decode(method, &j.Method)
	}
	t.jwtSource(j)
	j.Identity, j.ClientID, j.Policy = t.text(t.get("jwt_identity_base_field")), t.text(t.get("jwt_client_base_field")), t.text(t.get("jwt_policy_field_name"))
	j.Policies = t.list(t.get("jwt_default_policies"))
	j.Scope, j.Scopes = "scope", map[string]string{}
	for _, s := range []struct{ claim, mapping *document.Node }{
		{t.get("jwt_scope_claim_name"), t.get("jwt_scope_to_policy_mapping")},
		{t.get("scopes", "jwt", "scope_claim_name"), t.get("scopes", "jwt", "scope_to_policy")},
	} {
		if claim := t.text(s.claim); claim != "" {
			j.Scope = claim
		}
		if s.mapping != nil {
			mapping := map[string]string{}
			t.decoder.Decode(s.mapping, &mapping)
			maps.Copy(j.Scopes, mapping)
		}
	}
	j.IssuedSkew = t.seconds(t.get("jwt_issued_at_validation_skew"))
	j.ExpirySkew = t.seconds(t.get("jwt_expires_at_validation_skew"))
	j.NotBeforeSkew = t.seconds(t.get("jwt_not_before_validation_skew"))
	j.SkipKID = t.truth(t.get("jwt_skip_kid"))
	j.SkipClientID = t.truth(t.get("idp_client_id_mapping_disabled"))
	t.method(on, m)
}

// jwtSource reads where the keys are: a URL or base64 of one is a key set, anything else is base64 of a key or secret.
func (t *translation) jwtSource(j *config.JWTAuth) {
	for _, entry := range items(t.get("jwt_jwks_uris")) {
		s := config.JWKSSource{URL: t.text(get(entry, "url")), CacheFor: config.DefaultJWKSCache}
		if keep := t.seconds(get(entry, "cache_timeout")); keep > 0 {
			s.CacheFor = keep
		}
		j.JWKS = append(j.JWKS, s)
	}
	n := t.get("jwt_source")
	source := t.text(n)
	if source == "" || len(j.JWKS) > 0 {
		return
	}
	decoded, err := base64.StdEncoding.DecodeString(source)
	switch {
	case isURL(source):
		j.JWKS = []config.JWKSSource{{URL: source, CacheFor: config.DefaultJWKSCache}}
	case err != nil:
		t.errorf(n, "must be the URL of a key set, or base64 of a URL, key or secret")
	case isURL(string(decoded)):
		j.JWKS = []config.JWKSSource{{URL: string(decoded), CacheFor: config.DefaultJWKSCache}}
	default:
		j.Source = string(decoded)
	}
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

// custom translates the auth_check hook.
func (t *translation) custom() {
	var on *document.Node
	for _, key := range []string{"custom_plugin_auth_enabled", "enable_coprocess_auth", "use_go_plugin_auth"} {
		if n := t.get(key); t.truth(n) {
			on = n
		}
	}
	check := t.get("custom_middleware", "auth_check")
	if on == nil {
		return
	}
	named := check != nil && t.text(get(check, "name")) != "" && !t.truth(get(check, "disabled"))
	if p := t.placedAuth(); !named && t.server == scriptJS && p != nil {
		t.source(scriptJS, p.source)
		t.method(on, config.AuthMethod{Kind: config.AuthHook, Name: nameCustom, Hook: config.HookAuth{
			HookRef: config.HookRef{Server: scriptJS, Name: p.name, Path: on.Path()}, Store: true,
		}})
		return
	}
	if native := t.nativeAuth(); !named && len(native) > 0 {
		for i, ref := range native {
			m := config.AuthMethod{Kind: config.AuthHook, Name: nameCustom, Hook: config.HookAuth{HookRef: ref, Store: true}}
			if i > 0 {
				m.Name = "" // the hook's
			}
			t.method(on, m)
		}
		return
	}
	if !named {
		t.errorf(on, "plugin auth is on, and custom_middleware.auth_check names no hook or is disabled")
		return
	}
	m := config.AuthMethod{Kind: config.AuthHook, Name: nameCustom, Hook: config.HookAuth{HookRef: t.hook(check), Store: true}}
	t.extractor(get(t.get("custom_middleware"), "id_extractor"), &m.Hook.Extractor)
	path := document.Index("$.auth.all", len(t.def.Auth.All)) + ".hook"
	t.from(path+".hook", get(check, "name"))
	t.from(path+".id_extractor", t.get("custom_middleware", "id_extractor"))
	t.method(check, m)
}

// extractor translates an id extractor. What Tyk declares and never extracts gives every caller one session there, and
// is refused (reference §2.6).
func (t *translation) extractor(n *document.Node, e *config.IDExtractor) {
	if n == nil || t.truth(get(n, "disabled")) {
		return
	}
	from, with, options := get(n, "extract_from"), get(n, "extract_with"), get(n, "extractor_config")
	if t.text(from) == "" && t.text(with) == "" {
		return
	}
	if t.text(from) == "querystring" {
		t.errorf(from, "Tyk extracts nothing from a query string, so every caller would share one session: use header, form or body, or a native definition")
		return
	}
	if from == nil || with == nil {
		t.errorf(n, "extract_from and extract_with come together")
		return
	}
	t.decoder.Decode(from, &e.From)
	t.decoder.Decode(with, &e.With)
	e.Name = t.text(get(options, "header_name"))
	if e.From == config.ExtractForm {
		e.Name = t.text(get(options, "param_name"))
	}
	switch e.With {
	case config.ExtractRegex:
		e.Expression, e.Index = t.text(get(options, "regex_expression")), int(t.number(get(options, "regex_match_index")))
	case config.ExtractXPath:
		e.Expression = t.text(get(options, "xpath_expression"))
	}
}

// certificates translates mutual TLS: which clients may connect, whoever they then are.
func (t *translation) certificates() {
	on, list := t.get("use_mutual_tls_auth"), t.get("client_certificates")
	if !t.truth(on) {
		return
	}
	m := config.AuthMethod{Kind: config.AuthCertificate, Certificate: config.CertificateAuth{Only: true}}
	const digits = 64
	for _, id := range t.list(list) {
		if len(id) > digits { // the organisation's id comes first
			id = id[len(id)-digits:]
		}
		m.Certificate.Allow = append(m.Certificate.Allow, id)
	}
	if len(m.Certificate.Allow) == 0 {
		t.errorf(on, "mutual TLS is on, and client_certificates admits nobody")
	}
	t.method(on, m)
}

// seconds reads a number of seconds; what is not above 0 is none.
func (t *translation) seconds(n *document.Node) time.Duration {
	var s float64
	if n != nil {
		t.decoder.Decode(n, &s)
	}
	if s <= 0 {
		return 0
	}
	return duration(s, time.Second)
}

// duration is so many units, at most what a Duration can hold.
func duration(n float64, unit time.Duration) time.Duration {
	if d := n * float64(unit); d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
}
