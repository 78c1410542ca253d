package config

import (
	"cmp"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Auth says who may call an API: every method of All must let the caller in, or one of Any. Exactly one of the two is
// filled in, except in an API that is keyless, where both are empty.
type Auth struct {
	All []AuthMethod `yaml:"all"`
	Any []AuthMethod `yaml:"any"`
	// Identity names the method whose session counts when several let the caller in; empty means the last that did.
	Identity string `yaml:"identity"`
	// Strip takes the credentials off the request before it goes upstream.
	Strip bool `yaml:"strip"`
	// Lifetime is how long a session that this API's methods make is kept; 0 keeps it for ever. A lifetime that the
	// session says itself goes before it (reference §8.4).
	Lifetime time.Duration `yaml:"session_lifetime,positive"`
	// RespectExpiry keeps such a session at least until it expires.
	RespectExpiry bool `yaml:"session_lifetime_respects_expiry"`
}

// AuthKind is a way of saying who calls.
type AuthKind string

// The kinds of methods. AuthAll and AuthAny are groups.
const (
	AuthToken       AuthKind = "token"
	AuthBasic       AuthKind = "basic"
	AuthHMAC        AuthKind = "hmac"
	AuthJWT         AuthKind = "jwt"
	AuthCertificate AuthKind = "certificate"
	AuthHook        AuthKind = "hook"
	AuthAll         AuthKind = "all"
	AuthAny         AuthKind = "any"
)

// AuthMethod is one way of saying who calls, or a group of such. The field that Kind names is filled in. In a file it is
// a mapping of the kind to its options, with an optional name beside it; a kind without options may be written as a
// string: `- token`, `- jwt: {source: …}`.
type AuthMethod struct {
	Kind AuthKind
	// Name is what Auth.Identity, logs and records call the method; unique in an API. Default: the kind, or the hook's
	// name.
	Name string

	Token       TokenAuth
	Basic       BasicAuth
	HMAC        HMACAuth
	JWT         JWTAuth
	Certificate CertificateAuth
	Hook        HookAuth
	Group       []AuthMethod

	// Path is where the options stand in the native form, for messages.
	Path string
}

// TokenAuth is a key in the store, given as it is or behind "Bearer".
type TokenAuth struct {
	Credential `yaml:",inline"`
	// Certificate takes a client certificate in place of a token that is missing: the key it is bound to counts.
	Certificate bool `yaml:"certificate"`
	// Signature, when its Algorithm is said, wants a signature of the token besides.
	Signature SignatureAuth `yaml:"signature"`
}

// SignatureAuth is the signature of a token with a shared secret and the time, as Mashery's clients make it.
type SignatureAuth struct {
	// Algorithm is "MasherySHA256" or "MasheryMD5"; empty is off.
	Algorithm string        `yaml:"algorithm"`
	Header    string        `yaml:"header"`
	Param     string        `yaml:"query"`
	Secret    string        `yaml:"secret"`
	Skew      time.Duration `yaml:"skew,positive"`
	// Status and Message replace those of the refusal.
	Status  int    `yaml:"status"`
	Message string `yaml:"message"`
}

// BasicAuth is a user name and password (RFC 7617); the user's session has the password's hash.
type BasicAuth struct {
	Credential `yaml:",inline"`
	// CacheFor is how long a password that was right is not hashed again. Default 1 min; NoCache hashes it every time.
	CacheFor time.Duration `yaml:"cache_for,positive"`
	NoCache  bool          `yaml:"no_cache"`
	// BodyUser and BodyPassword, regular expressions with one group, take name and password from the body. Both or none.
	BodyUser     string `yaml:"body_user"`
	BodyPassword string `yaml:"body_password"`
}

// HMACAuth is a signature of the request's header (draft-cavage-http-signatures-10), by a key's secret.
type HMACAuth struct {
	Credential `yaml:",inline"`
	// Algorithms are those admitted: hmac-sha1, hmac-sha256, hmac-sha384, hmac-sha512, rsa-sha256. Default in native
	// definitions: the hmac ones but hmac-sha1.
	Algorithms []string `yaml:"algorithms"`
	// Skew bounds how far the request's date may be off; 0 does not look at it. Default in native definitions 30 s.
	Skew time.Duration `yaml:"skew,positive"`
	// Headers must be among what is signed; x-aux-date counts as date. Default in native definitions: (request-target)
	// and date.
	Headers []string `yaml:"headers"`
	// Once refuses a signature that has been seen while its date is good. Default true in native definitions; it needs
	// a Skew.
	Once bool `yaml:"once"`
}

// JWTAuth is a JSON Web Token (RFC 7519).
type JWTAuth struct {
	Credential `yaml:",inline"`
	// Method is the family of algorithms: hmac, rsa, ecdsa or eddsa. The token's own header never decides.
	Method JWTMethod `yaml:"method"`
	// Source is the secret (hmac), a PEM key, or base64 of one; JWKS are the URLs of key sets. Exactly one is said; with
	// neither, each key in the store holds the secret of its own tokens.
	Source string       `yaml:"source"`
	JWKS   []JWKSSource `yaml:"jwks"`
	// Identity is the claim that says who calls, default "sub"; ClientID the one that names a key whose policies hold;
	// Policy the one that names a policy. A dotted path reaches into objects.
	Identity string `yaml:"identity_claim"`
	ClientID string `yaml:"client_claim"`
	Policy   string `yaml:"policy_claim"`
	// Policies hold when no claim names one.
	Policies []string `yaml:"policies"`
	// Scope is the claim with scopes, default "scope"; Scopes maps each to a policy.
	Scope  string            `yaml:"scope_claim"`
	Scopes map[string]string `yaml:"scopes"`
	// Issuers and Audiences, when not empty, are the ones admitted.
	Issuers   []string `yaml:"issuers"`
	Audiences []string `yaml:"audiences"`
	// IssuedSkew, ExpirySkew and NotBeforeSkew forgive clocks that differ.
	IssuedSkew    time.Duration `yaml:"issued_skew,positive"`
	ExpirySkew    time.Duration `yaml:"expiry_skew,positive"`
	NotBeforeSkew time.Duration `yaml:"not_before_skew,positive"`
	// SkipKID takes the identity claim as the key's id although the token has a kid; used without Source and JWKS.
	SkipKID bool `yaml:"skip_kid"`
	// NoCache verifies the signature of every token, also of one that was verified before.
	NoCache bool `yaml:"no_cache"`
	// SkipClientID leaves oauth_client_id alone.
	SkipClientID bool `yaml:"-"`
}

// JWKSSource is a JSON Web Key Set (RFC 7517) at a URL.
type JWKSSource struct {
	URL string `yaml:"url"`
	// CacheFor is how long a fetched set is good. Default 5 min. An unknown key id fetches earlier, within bounds.
	CacheFor time.Duration `yaml:"cache_for,positive"`
}

// JWTMethod is a family of signature algorithms (RFC 7518 §3.1, RFC 8037).
type JWTMethod string

// The families. JWTRSA admits RS and PS algorithms.
const (
	JWTHMAC  JWTMethod = "hmac"
	JWTRSA   JWTMethod = "rsa"
	JWTECDSA JWTMethod = "ecdsa"
	JWTEdDSA JWTMethod = "eddsa"
)

// UnmarshalText accepts the named families.
func (m *JWTMethod) UnmarshalText(text []byte) error {
	return oneOf(m, text, JWTHMAC, JWTRSA, JWTECDSA, JWTEdDSA)
}

// CertificateAuth is a client certificate. The key that it is bound to counts; with Only, the certificate's own
// fingerprint is the identity and no key is needed.
type CertificateAuth struct {
	// Allow are the SHA-256 fingerprints, lower-case hex, of the certificates admitted; empty admits every certificate
	// that the listener's CA vouches for.
	Allow []string `yaml:"allow"`
	Only  bool     `yaml:"only"`
}

// HookAuth is an auth hook, whose session counts.
type HookAuth struct {
	HookRef `yaml:",inline"`
	// Extractor finds the id of a session that an earlier call of the hook left in the store, and saves the call. Off
	// when From is empty.
	Extractor IDExtractor `yaml:"id_extractor"`
	// Store keeps the hook's sessions as keys are kept, applies the policies they name, and counts their quotas across
	// restarts. Without, a session is good for its request. Classic definitions and those with an Extractor store.
	Store bool `yaml:"store"`
}

// IDExtractor takes the id of a session out of a request (reference §2.6). Combinations that extract nothing are
// refused.
type IDExtractor struct {
	// From is header, query, form or body; With is value, regex or xpath.
	From ExtractFrom `yaml:"from"`
	With ExtractWith `yaml:"with"`
	// Name is the header's or parameter's.
	Name string `yaml:"name"`
	// Expression is the regular expression or XPath; Index chooses among the matches of a regular expression.
	Expression string `yaml:"expression"`
	Index      int    `yaml:"index"`
}

// ExtractFrom is where an id is found.
type ExtractFrom string

// The places.
const (
	ExtractHeader ExtractFrom = "header"
	ExtractQuery  ExtractFrom = "query"
	ExtractForm   ExtractFrom = "form"
	ExtractBody   ExtractFrom = "body"
)

// UnmarshalText accepts the named places.
func (f *ExtractFrom) UnmarshalText(text []byte) error {
	return oneOf(f, text, ExtractHeader, ExtractQuery, ExtractForm, ExtractBody)
}

// ExtractWith is how an id is taken out of what was found.
type ExtractWith string

// The ways.
const (
	ExtractValue ExtractWith = "value"
	ExtractRegex ExtractWith = "regex"
	ExtractXPath ExtractWith = "xpath"
)

// UnmarshalText accepts the named ways.
func (w *ExtractWith) UnmarshalText(text []byte) error {
	return oneOf(w, text, ExtractValue, ExtractRegex, ExtractXPath)
}

// Methods returns the top-level methods, and whether one of them suffices.
func (a *Auth) Methods() (list []AuthMethod, one bool) {
	if len(a.Any) > 0 {
		return a.Any, true
	}
	return a.All, false
}

// Walk calls f for every method, groups and what is in them included.
func (a *Auth) Walk(f func(m *AuthMethod)) {
	walkMethods(a.All, f)
	walkMethods(a.Any, f)
}

// Has reports whether a method of that kind is among them.
func (a *Auth) Has(k AuthKind) bool {
	found := false
	a.Walk(func(m *AuthMethod) { found = found || m.Kind == k })
	return found
}

// complete takes in the hooks listed under hooks.auth when there is nothing else, and names methods without a name. With
// both, they stay where they are for Validate to refuse.
func (a *Auth) complete(hooks *Hooks) {
	if len(a.All)+len(a.Any) == 0 {
		for i, h := range hooks.Auth {
			a.All = append(a.All, AuthMethod{Kind: AuthHook, Hook: HookAuth{HookRef: h}, Path: document.Index("$.hooks.auth", i)})
		}
		hooks.Auth = nil
	}
	completeMethods("$.auth.all", a.All)
	completeMethods("$.auth.any", a.Any)
	a.Walk(func(m *AuthMethod) {
		m.Name = cmp.Or(m.Name, m.Hook.Name, string(m.Kind))
		if m.Kind == AuthHook {
			m.Hook.Path = cmp.Or(m.Hook.Path, m.Path)
		}
	})
}

// completeMethods notes where methods stand.
func completeMethods(at string, list []AuthMethod) {
	for i := range list {
		m := &list[i]
		m.Path = cmp.Or(m.Path, document.Index(at, i)+"."+string(m.Kind))
		completeMethods(m.Path, m.Group)
	}
}

func walkMethods(list []AuthMethod, f func(m *AuthMethod)) {
	for i := range list {
		f(&list[i])
		walkMethods(list[i].Group, f)
	}
}

// UnmarshalNode reads a kind, or a mapping of a kind to its options with an optional name beside it.
func (m *AuthMethod) UnmarshalNode(n *document.Node, d *document.Decoder) {
	const want = "must be one of token, basic, hmac, jwt, certificate, hook, all, any, or a mapping of one of them to its options"
	if n.Kind == document.String {
		m.Kind = AuthKind(n.Text)
		if m.options() == nil || m.Kind == AuthHook || m.Group != nil {
			d.Errorf(n, "%s: "+want, n.Quote())
		}
		m.defaults()
		return
	}
	if n.Kind != document.Mapping {
		d.Errorf(n, want+", not %s", n.Kind)
		return
	}
	for _, f := range n.Fields {
		if f.Key == "name" {
			d.Decode(f.Value, &m.Name)
			continue
		}
		if m.Kind != "" {
			d.Errorf(f.Value, "a method has one kind, and this one is %s already: begin another entry", m.Kind)
			return
		}
		m.Kind = AuthKind(f.Key)
		m.defaults()
		options := m.options()
		if options == nil {
			d.Errorf(f.Value, "%q: "+want, f.Key)
			return
		}
		if f.Value.Kind != document.Null {
			d.Decode(f.Value, options)
		}
	}
	if m.Kind == "" {
		d.Errorf(n, "%s", want)
	}
}

// options returns where the options of the method's kind go; nil when there is no such kind.
func (m *AuthMethod) options() any {
	switch m.Kind {
	case AuthToken:
		return &m.Token
	case AuthBasic:
		return &m.Basic
	case AuthHMAC:
		return &m.HMAC
	case AuthJWT:
		return &m.JWT
	case AuthCertificate:
		return &m.Certificate
	case AuthHook:
		return &m.Hook
	case AuthAll, AuthAny:
		return &m.Group
	}
	return nil
}

// defaults fills in what a native definition that says nothing means.
func (m *AuthMethod) defaults() {
	standard := Credential{Header: "Authorization"}
	switch m.Kind {
	case AuthToken:
		m.Token.Credential = standard
	case AuthBasic:
		m.Basic = BasicAuth{Credential: standard, CacheFor: DefaultBasicCache}
	case AuthHMAC:
		m.HMAC = HMACAuth{
			Credential: standard, Skew: DefaultHMACSkew, Once: true,
			Algorithms: []string{"hmac-sha256", "hmac-sha384", "hmac-sha512"}, Headers: []string{"(request-target)", "date"},
		}
	case AuthJWT:
		m.JWT = JWTAuth{Credential: standard, Identity: "sub", Scope: "scope"}
	}
}

// What methods do about which nothing is said.
const (
	DefaultBasicCache = time.Minute
	DefaultHMACSkew   = 30 * time.Second
	DefaultJWKSCache  = 5 * time.Minute
)

// HooksIn returns the hooks of one phase in the order they stand; those of auth wherever they stand in Auth.
func (d *Definition) HooksIn(p Phase) []HookRef {
	if p != PhaseAuth {
		return d.Hooks.In(p)
	}
	list := slices.Clone(d.Hooks.Auth)
	d.Auth.Walk(func(m *AuthMethod) {
		if m.Kind == AuthHook {
			list = append(list, m.Hook.HookRef)
		}
	})
	return list
}
