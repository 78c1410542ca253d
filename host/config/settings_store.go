package config

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// StoreSettings say where keys, sessions and policies are kept.
type StoreSettings struct {
	// Type is StoreBolt (default) or StoreRedis, which several gateways may share.
	Type StoreType `yaml:"type"`
	// Path is the folder of StoreBolt's file, and of what else the gateway keeps for itself. Absolute after loading. Default
	// "data".
	Path string `yaml:"path"`
	// OnError is what a request gets that needs a store which is away. Default StoreFail.
	OnError OnStoreError  `yaml:"on_error"`
	Redis   RedisSettings `yaml:"redis"`
}

// StoreType is a kind of store.
type StoreType string

// The kinds of stores.
const (
	StoreBolt  StoreType = "bolt"
	StoreRedis StoreType = "redis"
)

// UnmarshalText accepts "bolt" and "redis".
func (s *StoreType) UnmarshalText(text []byte) error { return oneOf(s, text, StoreBolt, StoreRedis) }

// OnStoreError is what becomes of a request that needs a store which is away.
type OnStoreError string

// StoreFail answers 503. StoreContinue lets requests pass whose caller is known from memory, uncounted where the count
// is in the store; who is not known gets 503 all the same.
const (
	StoreFail     OnStoreError = "fail"
	StoreContinue OnStoreError = "continue"
)

// UnmarshalText accepts "fail" and "continue".
func (o *OnStoreError) UnmarshalText(text []byte) error {
	return oneOf(o, text, StoreFail, StoreContinue)
}

// RedisSettings describe a Redis or Valkey: one server, a cluster, or those that sentinels name.
type RedisSettings struct {
	// Addresses are host:port: of the server, of some nodes of a cluster, of the sentinels when Master is said.
	Addresses []string `yaml:"addresses"`
	// Master is the name sentinels know the server by; Cluster true says that the addresses are a cluster's.
	Master  string `yaml:"master"`
	Cluster bool   `yaml:"cluster"`
	// Username and Password are an ACL user's, or the password alone; the other two those of the sentinels.
	Username         string `yaml:"username"`
	Password         string `yaml:"password"`
	SentinelUsername string `yaml:"sentinel_username"`
	SentinelPassword string `yaml:"sentinel_password"`
	// Database is the number of the database; a cluster has 0 alone.
	Database int `yaml:"database"`
	// Prefix comes before every key and channel. Default "turnbuckle:".
	Prefix string    `yaml:"prefix"`
	TLS    PluginTLS `yaml:"tls"`
	// Timeout bounds one command. Default 1 s.
	Timeout time.Duration `yaml:"timeout,positive"`
	// Pool is the number of connections kept per server. 0 takes the driver's choice.
	Pool int `yaml:"pool,positive"`
}

// KeySettings say how keys are made and kept.
type KeySettings struct {
	// Hash is how the ids of keys are hashed in the store. Default KeySHA256; HashFallback are those that older keys were
	// hashed with, which go on working.
	Hash         KeyHash   `yaml:"hash"`
	HashFallback []KeyHash `yaml:"hash_fallback"`
	// ListHashed lets the control API list hashed ids. Default true.
	ListHashed bool `yaml:"list_hashed"`
	// MinLength refuses shorter tokens unread. Default 3.
	MinLength int `yaml:"min_length,positive"`
	// Master admits keys without access rights, which may use every API. Default false: the control API refuses to make
	// them.
	Master bool `yaml:"master"`
	// Lifetime is how long keys are kept whose session and API say nothing; with ForceLifetime it goes before both.
	Lifetime      time.Duration `yaml:"lifetime,positive"`
	ForceLifetime bool          `yaml:"force_lifetime"`
	// RespectExpiry keeps keys at least until they expire.
	RespectExpiry bool `yaml:"lifetime_respects_expiry"`
}

// KeyHash is how the ids of keys are hashed.
type KeyHash string

// The ways of hashing. The murmur ones are no protection; they are there for keys that were made with them.
const (
	KeySHA256    KeyHash = "sha256"
	KeyMurmur32  KeyHash = "murmur32"
	KeyMurmur64  KeyHash = "murmur64"
	KeyMurmur128 KeyHash = "murmur128"
	KeyPlain     KeyHash = "none"
)

// UnmarshalText accepts the named ways.
func (h *KeyHash) UnmarshalText(text []byte) error {
	return oneOf(h, text, KeySHA256, KeyMurmur32, KeyMurmur64, KeyMurmur128, KeyPlain)
}

// LimitSettings say how rates and quotas are counted and told.
type LimitSettings struct {
	// Mode defaults to LimitLocal on StoreBolt and LimitExact on StoreRedis.
	Mode LimitMode `yaml:"mode"`
	// Headers are the X-RateLimit fields of replies. Default LimitHeadersQuotas.
	Headers LimitHeaders `yaml:"headers"`
}

// LimitMode is how several gateways count.
type LimitMode string

// LimitLocal counts in each gateway by itself. LimitExact counts in Redis, a round trip for each request; in
// LimitDistributed gateways tell each other their load and each enforces its share from memory.
const (
	LimitAuto        LimitMode = ""
	LimitLocal       LimitMode = "local"
	LimitExact       LimitMode = "exact"
	LimitDistributed LimitMode = "distributed"
)

// UnmarshalText accepts the named modes.
func (m *LimitMode) UnmarshalText(text []byte) error {
	return oneOf(m, text, LimitLocal, LimitExact, LimitDistributed)
}

// LimitHeaders is what the X-RateLimit fields of replies tell.
type LimitHeaders string

// The fields tell of the quota, of the rate, or are left out.
const (
	LimitHeadersQuotas LimitHeaders = "quotas"
	LimitHeadersRates  LimitHeaders = "rates"
	LimitHeadersNone   LimitHeaders = "none"
)

// UnmarshalText accepts "quotas", "rates" and "none".
func (h *LimitHeaders) UnmarshalText(text []byte) error {
	return oneOf(h, text, LimitHeadersQuotas, LimitHeadersRates, LimitHeadersNone)
}

// AdminToken is a credential of the control listener beside the one secret.
type AdminToken struct {
	Token string    `yaml:"token"`
	Role  AdminRole `yaml:"role"`
}

// AdminRole is what a credential may do.
type AdminRole string

// RoleRead may look; RoleWrite, which the secret has, may change.
const (
	RoleRead  AdminRole = "read"
	RoleWrite AdminRole = "write"
)

// UnmarshalText accepts "read" and "write".
func (r *AdminRole) UnmarshalText(text []byte) error { return oneOf(r, text, RoleRead, RoleWrite) }

func (v *validator) store(s *Settings) {
	const at = "$.store.redis"
	r := &s.Store.Redis
	if s.Store.Type == StoreBolt {
		if s.Store.Path == "" {
			v.errorf("$.store.path", "must not be empty")
		}
		if s.Limits.Mode == LimitExact || s.Limits.Mode == LimitDistributed {
			v.errorf("$.rate_limits.mode", "%s counts in Redis: set store.type to redis", s.Limits.Mode)
		}
		return
	}
	if len(r.Addresses) == 0 {
		v.errorf(at+".addresses", "at least one host:port is required")
	}
	for i, a := range r.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "0" || !portOK(port) || port == "" {
			v.errorf(document.Index(at+".addresses", i), "%q is not an address: write host:port", a)
		}
	}
	switch {
	case r.Cluster && r.Master != "":
		v.errorf(at+".master", "a cluster has no sentinels: leave out cluster or master")
	case r.Cluster && r.Database != 0:
		v.errorf(at+".database", "a cluster has database 0 alone")
	case !r.Cluster && r.Master == "" && len(r.Addresses) > 1:
		v.errorf(at+".addresses", "several addresses are a cluster's (cluster: true) or sentinels' (master: NAME)")
	case r.Database < 0:
		v.errorf(at+".database", "must not be negative")
	}
	v.pair(at+".tls", r.TLS.CertFile, r.TLS.KeyFile)
}

func (v *validator) keys(k *KeySettings) {
	if slices.Contains(k.HashFallback, k.Hash) {
		v.warnf("$.keys.hash_fallback", "%s is how keys are hashed anyway", k.Hash)
	}
}

func (v *validator) adminTokens(a *AdminSettings) {
	seen := map[string]string{a.Secret: "admin.secret"}
	for _, name := range sortedKeys(a.Tokens) {
		t, at := a.Tokens[name], document.Join("$.admin.tokens", name)
		const shortest = 8
		switch other := seen[t.Token]; {
		case strings.ContainsAny(name, " \t\"") || hasControl(name):
			v.errorf(at, "%q must not have spaces, quotes or control characters", name)
		case len(t.Token) < shortest || hasControl(t.Token):
			v.errorf(at+".token", "must have at least %d bytes and no control characters", shortest)
		case other != "":
			v.errorf(at+".token", "the same as that of %s: nobody could tell who was there", other)
		case t.Role == "":
			v.errorf(at+".role", "must be read or write")
		}
		seen[t.Token] = "admin.tokens." + name
	}
}
