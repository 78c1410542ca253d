package config

import (
	"cmp"
	"encoding/json"
	"time"
)

// Phase is when a hook runs.
type Phase string

// The phases a hook can be listed under, in the order of a request.
const (
	PhasePre         Phase = "pre"
	PhaseAuth        Phase = "auth"
	PhasePostKeyAuth Phase = "post_key_auth"
	PhasePost        Phase = "post"
	PhaseResponse    Phase = "response"
)

// Phases returns the phases in the order of a request.
func Phases() []Phase {
	return []Phase{PhasePre, PhaseAuth, PhasePostKeyAuth, PhasePost, PhaseResponse}
}

// UnmarshalText accepts the named phases.
func (p *Phase) UnmarshalText(text []byte) error { return oneOf(p, text, Phases()...) }

// Hooks lists an API's hooks by phase. Each list runs in order; every auth hook must pass.
type Hooks struct {
	Pre         []HookRef `yaml:"pre"`
	Auth        []HookRef `yaml:"auth"`
	PostKeyAuth []HookRef `yaml:"post_key_auth"`
	Post        []HookRef `yaml:"post"`
	Response    []HookRef `yaml:"response"`
}

// In returns the hooks of one phase.
func (h *Hooks) In(p Phase) []HookRef {
	switch p {
	case PhasePre:
		return h.Pre
	case PhaseAuth:
		return h.Auth
	case PhasePostKeyAuth:
		return h.PostKeyAuth
	case PhasePost:
		return h.Post
	case PhaseResponse:
		return h.Response
	}
	return nil
}

// HookRef names a hook and says how it is called.
type HookRef struct {
	// Server is a name under `servers` in the settings or the name of a plugin folder; empty is
	// the server named "default".
	Server string `yaml:"server"`
	// Script is a file in a scripting language, relative to the definition's folder, that has the hook, in place of a
	// server. Complete makes it one of Definition.Scripts, and Server its name; the hook's name is then the phase's by
	// default.
	Script  string    `yaml:"script"`
	Isolate Isolation `yaml:"isolate"`
	// Bundle is a bundle that has the hook, in place of a server; loading makes Server its name.
	Bundle string `yaml:"bundle"`
	// Name is what the plugin calls the hook.
	Name string `yaml:"hook"`
	// Policy holds what the definition says; its zero fields take the defaults, see
	// Policy.WithDefaults.
	Policy `yaml:",inline"`
	// Config is the hook's own config, a JSON value; nil means Definition.Config.
	Config json.RawMessage `yaml:"config"`
	// RawBodyOnly leaves out the text form of the body in Tyk's protocol.
	RawBodyOnly bool `yaml:"raw_body_only"`
	// Path is where the hook stands in its file, for messages.
	Path string `yaml:"-"`
}

// ObserverRef names an observer on a plugin server.
type ObserverRef struct {
	Server string `yaml:"server"`
	// Script is a file in place of a server, as in HookRef.
	Script string `yaml:"script"`
	// Bundle is a bundle in place of a server, as in HookRef.
	Bundle string `yaml:"bundle"`
	Name   string `yaml:"observer"`
	// Headers and ResponseHeaders are what records hold of the header of requests, as clients sent it, and of replies, for
	// this observer: all, or names, of which one that ends in * stands for all that begin so. An observer may ask for more.
	Headers         HeaderNeeds `yaml:"headers"`
	ResponseHeaders HeaderNeeds `yaml:"response_headers"`
}

// EventHandler is a classic event handler.
type EventHandler struct {
	// Event is Tyk's event name, such as "AuthFailure".
	Event string
	// Log true writes the event to the log, with Name as its prefix; otherwise Name is the handler's name on the plugin
	// server, or in the script of the definition, that Server names; empty is the default plugin server.
	Log    bool
	Name   string
	Server string
}

// Policy is how a hook is called, data that the host turns into middleware. A zero field means
// "not said": WithDefaults fills it in.
type Policy struct {
	// Timeout of one call.
	Timeout time.Duration `yaml:"timeout,positive"`
	// OnError is what a failed call does to the request. OnErrorSkip is refused for auth.
	OnError OnError `yaml:"on_error"`
	// Body is whether the hook sees the body.
	Body BodyPolicy `yaml:"body"`
	// MaxInFlight bounds concurrent calls; one more fails at once. 0 is no bound.
	MaxInFlight int `yaml:"max_in_flight,positive"`
	// Breaker stops calling a hook that keeps failing. Off when Breaker.ErrorRate is 0.
	Breaker Breaker `yaml:"breaker"`
}

// OnError is what a failed hook call does.
type OnError string

// The outcomes of a failed call: the request fails, or goes on as if the hook were not there.
const (
	OnErrorFail OnError = "fail"
	OnErrorSkip OnError = "skip"
)

// UnmarshalText accepts "fail" and "skip".
func (o *OnError) UnmarshalText(text []byte) error { return oneOf(o, text, OnErrorFail, OnErrorSkip) }

// BodyPolicy is whether a hook sees the body and how large it may be.
type BodyPolicy struct {
	// Mode empty means "not said".
	Mode BodyMode
	// Limit in bytes holds when Mode is BodyBuffer; a larger body answers 413.
	Limit Size
}

// BodyMode is whether a body is buffered for a hook.
type BodyMode string

// The body modes.
const (
	BodyNone   BodyMode = "none"
	BodyBuffer BodyMode = "buffer"
)

// Breaker opens when at least MinCalls calls within Window failed at a rate of at least
// ErrorRate; after OpenFor one probe decides.
type Breaker struct {
	// ErrorRate is in (0, 1].
	ErrorRate float64       `yaml:"error_rate,positive"`
	Window    time.Duration `yaml:"window,positive"`    // default 10 s
	MinCalls  int           `yaml:"min_calls,positive"` // default 20
	OpenFor   time.Duration `yaml:"open_for,positive"`  // default 5 s
}

// The policy every hook starts from.
const (
	DefaultNativeTimeout = time.Second
	DefaultTykTimeout    = 5 * time.Second
	DefaultBodyLimit     = Size(1 << 20)
	// MaxNeededBody is the longest body that a plugin can have buffered for it by saying that it needs one; for
	// longer ones a policy must say so.
	MaxNeededBody = Size(16 << 20)
)

// DefaultPolicy returns the policy of a hook about which nothing is said.
func DefaultPolicy(d Dialect) Policy {
	if d == DialectTyk {
		return Policy{
			Timeout: DefaultTykTimeout,
			OnError: OnErrorFail,
			Body:    BodyPolicy{Mode: BodyBuffer, Limit: DefaultBodyLimit},
		}
	}
	return Policy{
		Timeout: DefaultNativeTimeout,
		OnError: OnErrorFail,
		Body:    BodyPolicy{Mode: BodyNone, Limit: DefaultBodyLimit},
	}
}

// WithDefaults returns p with each field that says nothing taken from base. Chain it: a
// definition's policy, then the plugin's, then the settings', then DefaultPolicy.
func (p Policy) WithDefaults(base Policy) Policy {
	if p.Timeout == 0 {
		p.Timeout = base.Timeout
	}
	if p.OnError == "" {
		p.OnError = base.OnError
	}
	if p.Body.Mode == "" {
		p.Body.Mode = base.Body.Mode
	}
	if p.Body.Limit == 0 {
		p.Body.Limit = base.Body.Limit
	}
	if p.MaxInFlight == 0 {
		p.MaxInFlight = base.MaxInFlight
	}
	if p.Breaker.ErrorRate == 0 {
		p.Breaker = base.Breaker
	}
	if p.Breaker.ErrorRate > 0 {
		p.Breaker.Window = cmp.Or(p.Breaker.Window, 10*time.Second)
		p.Breaker.MinCalls = cmp.Or(p.Breaker.MinCalls, 20)
		p.Breaker.OpenFor = cmp.Or(p.Breaker.OpenFor, 5*time.Second)
	}
	return p
}
