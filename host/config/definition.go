package config

import (
	"encoding/json"
	"net/netip"
	"time"
)

// A Definition is one API: where it listens, where it forwards, and what happens on the way.
// Native files and translated classic files give the same type, so whoever compiles routes reads
// one shape. A Definition that LoadDir returns is complete (defaults filled in) and valid; treat
// it as read-only, it may be shared.
type Definition struct {
	// ID names the API in logs, metrics, records and the control listener. It is unique in a
	// Set; when the file gives none it is the file's base name without extension.
	ID string `yaml:"id"`
	// Name is for people. It defaults to ID.
	Name string `yaml:"name"`
	// Org is the owner that sessions and plugin servers see as OrgID; it may be empty.
	Org string `yaml:"org"`
	// Active false means the definition is checked but not served. Default true.
	Active bool `yaml:"active"`
	// Source says which file the definition came from.
	Source Source `yaml:"-"`
	// Dialect chooses whose semantics hooks get where Tyk's and ours differ.
	Dialect Dialect `yaml:"-"`

	Listen   Listen   `yaml:"listen"`
	Upstream Upstream `yaml:"upstream"`
	// Limits bounds what a client may send. A zero field leaves the gateway's own limit.
	Limits Limits `yaml:"limits"`
	// CORS is off when CORS.Enabled is false.
	CORS CORS `yaml:"cors"`
	// IP admits and refuses client addresses; empty lists admit everyone.
	IP IP `yaml:"ip"`

	// Versions is never without a version: an API that is not versioned has exactly one, with
	// Versions.In empty.
	Versions Versions `yaml:"versions"`
	// Rules hold for every version; RulesFor joins them with a version's own.
	Rules `yaml:",inline"`

	// Use turns ready-made plugins on. A Loader has their hooks and observers stand under Hooks and Observers.
	Use   []PluginUse `yaml:"use"`
	Hooks Hooks       `yaml:"hooks"`
	// Bundles are the bundles by the names under which they are asked for. In a native file those listed give the
	// definition all their hooks, after its own; after loading those that single hooks name are here too.
	Bundles []string `yaml:"bundles"`
	// Scripts are the plugins in scripting languages that hooks and observers name as their servers.
	Scripts []Script `yaml:"-"`
	// Budget bounds the time all hooks of one request may take together; 0 is no bound.
	Budget time.Duration `yaml:"budget,positive"`
	// Observers are told of every finished request and of events.
	Observers []ObserverRef `yaml:"observers"`
	// Events lists classic event handlers; native definitions use Observers.
	Events []EventHandler `yaml:"-"`

	// Keyless means that nobody is asked who they are. A definition with Keyless false has at least
	// one method in Auth.
	Keyless bool `yaml:"-"`
	// Auth says who may call. Hooks listed under hooks.auth are a short form of auth.all: Complete
	// moves them here.
	Auth Auth `yaml:"auth"`
	// Credential says where auth hooks look for the client's credential, for failure events and for Auth.Strip;
	// they look for themselves.
	Credential Credential `yaml:"credential"`

	// Config is the JSON value that hooks without a config of their own are given (classic
	// config_data). It is nil when absent or disabled.
	Config json.RawMessage `yaml:"config"`
	// ConfigDisabled is the classic config_data_disabled: hooks get no config key at all.
	ConfigDisabled bool `yaml:"-"`
	// BundleHash is the lower-case hex MD5 of the classic bundle name, which Tyk's protocol sends
	// with every call; "" when there is none.
	BundleHash string `yaml:"-"`

	Errors Errors `yaml:"errors"`
	// HideGenerator leaves out the X-Generator header on error replies.
	HideGenerator bool `yaml:"hide_generator"`
	// Tags go into access log lines and records.
	Tags []string `yaml:"tags"`
	// DoNotTrack keeps the API's requests out of records.
	DoNotTrack bool `yaml:"do_not_track"`

	// Notices are the warnings and the ignored fields met while loading, for check and the
	// control listener. None of them is an error.
	Notices []Problem `yaml:"-"`
}

// RulesFor joins the rules of the whole API with those of one of its versions: lists are
// concatenated, the API's first; of single values the version's wins.
func (d *Definition) RulesFor(v *Version) Rules {
	return d.Rules.join(v.Rules)
}

// Source tells where a definition was read.
type Source struct {
	// File is the path as the loader opened it.
	File string
	// Format is the shape the file was written in.
	Format Format
}

// Format is the shape of a definition file.
type Format string

// The formats a definition can be written in.
const (
	FormatNative  Format = "native"
	FormatClassic Format = "classic"
)

// Dialect is whose hook semantics a definition asks for.
type Dialect string

// The dialects. DialectTyk has a timeout of 5 s, buffered bodies and Tyk's failure statuses by
// default; DialectNative has 1 s, no bodies and the native statuses.
const (
	DialectNative Dialect = "native"
	DialectTyk    Dialect = "tyk"
)

// Listen says which requests belong to the API.
type Listen struct {
	// Path is the listen path: it begins with "/", and it has no trailing slash unless it is "/".
	Path string `yaml:"path"`
	// Host restricts the API to a host name: "" is any host, "api.example.com" that host,
	// "*.example.com" any host below it. Lower case, no port.
	Host string `yaml:"host"`
	// Strip removes Path before the request is forwarded. Default true for native definitions.
	Strip bool `yaml:"strip"`
	// Match is by whole segments (/a matches /a and /a/b) or by prefix (/a matches /ab too).
	// Empty takes the gateway's setting.
	Match PathMatching `yaml:"match"`
	// Clean resolves "." and ".." segments and doubled slashes before forwarding; without it the
	// rest of the path travels byte for byte.
	Clean bool `yaml:"clean"`
	// KeepSlash leaves a slash where stripping the listen path or joining it with the target's
	// path ends in one (classic disable_strip_slash). Default true for native definitions.
	KeepSlash bool `yaml:"-"`
}

// PathMatching is how a listen path is compared with the path of a request.
type PathMatching string

// The ways of matching a listen path.
const (
	MatchDefault  PathMatching = ""
	MatchSegments PathMatching = "segments"
	MatchPrefix   PathMatching = "prefix"
)

// UnmarshalText accepts the named ways of matching.
func (m *PathMatching) UnmarshalText(text []byte) error {
	return oneOf(m, text, MatchSegments, MatchPrefix)
}

// Limits bounds what a client may send and how often; 0 leaves the gateway's limit.
type Limits struct {
	// Body is the largest request body, in bytes.
	Body Size `yaml:"body,positive"`
	// Headers is the largest request header block, in bytes.
	Headers Size `yaml:"headers,positive"`

	// Rate bounds the API as a whole, whoever calls. What keys may do is in their sessions and policies.
	Rate Rate `yaml:"rate"`
	// Tags bounds the requests that hooks have given a tag (see sdk.Exchange.Tag), by tag, whoever calls.
	Tags map[string]Rate `yaml:"tags"`
	// IgnoreKeyRate and IgnoreKeyQuota leave what sessions say of rates and quotas unheeded.
	IgnoreKeyRate  bool `yaml:"ignore_key_rate"`
	IgnoreKeyQuota bool `yaml:"ignore_key_quota"`
}

// Rate is so many requests in so much time; the zero value is no bound.
type Rate struct {
	Requests float64       `yaml:"requests,positive"`
	Per      time.Duration `yaml:"per,positive"`
}

// CORS answers preflight requests and adds the Access-Control headers (Fetch standard, section
// "CORS protocol").
type CORS struct {
	Enabled bool `yaml:"enabled"`
	// Origins may hold "*" or patterns with one "*"; empty means every origin.
	Origins []string `yaml:"origins"`
	// Methods are upper case; empty means GET, POST and HEAD.
	Methods []string `yaml:"methods"`
	// Headers are the request headers a client may send; "*" is any.
	Headers []string `yaml:"headers"`
	// Exposed are the response headers a script may read.
	Exposed     []string      `yaml:"exposed"`
	Credentials bool          `yaml:"credentials"`
	MaxAge      time.Duration `yaml:"max_age"`
	// Passthrough sends OPTIONS requests to the upstream with no hook called.
	Passthrough bool `yaml:"passthrough"`
}

// IP holds the client addresses an API admits or refuses. Prefixes are masked; a single address
// is a prefix of its full length.
type IP struct {
	// Allow, when it is not empty, admits these addresses alone.
	Allow []netip.Prefix `yaml:"allow"`
	// Block refuses these addresses, whatever Allow says.
	Block []netip.Prefix `yaml:"block"`
}

// Credential says where a client puts its credential.
type Credential struct {
	// Header is "Authorization" where nothing is said; empty is none.
	Header string `yaml:"header"`
	// Param is a query parameter, Cookie a cookie name; when present they win over Header.
	Param  string `yaml:"param"`
	Cookie string `yaml:"cookie"`
}

// Errors replaces the built-in error replies. Lookup order: an inline template for the status,
// an inline one for any status, then error_<code>.<ext>, error.<ext> and error.json in Dir.
type Errors struct {
	// Dir holds template files; after loading it is an absolute path or empty.
	Dir       string          `yaml:"dir"`
	Templates []ErrorTemplate `yaml:"templates"`
}

// ErrorTemplate is one error reply, a text/template with the field .Message.
type ErrorTemplate struct {
	// Status is 400..599, or 0 for any status without a template of its own.
	Status int `yaml:"status"`
	// Type is the reply's type, "json" or "xml".
	Type TemplateType `yaml:"type"`
	Text string       `yaml:"text"`
}

// TemplateType is the document type of an error template.
type TemplateType string

// The template types.
const (
	TemplateJSON TemplateType = "json"
	TemplateXML  TemplateType = "xml"
)

// UnmarshalText accepts "json" and "xml".
func (t *TemplateType) UnmarshalText(text []byte) error {
	return oneOf(t, text, TemplateJSON, TemplateXML)
}
