package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Plugin is a set of hooks and observers under one name, as an author hands it to sdk/serve or a host. The value is
// read only once handed over.
type Plugin struct {
	Name         string
	Version      string // semantic version
	Hooks        []HookSpec
	Observers    []ObserverSpec
	ConfigSchema json.RawMessage // JSON Schema of the configuration hooks are called with; nil: anything
	Close        func() error    // called once when nothing calls the plugin any more; may be nil
	Stats        func() []Stat   // what the plugin counts, for metrics; may be nil. Safe for concurrent use, and quick
}

// Stat is something a plugin counts.
type Stat struct {
	Name  string // lower-case words with _ between them
	Value float64
	Total bool // it only grows while the plugin runs; else it is what holds at the moment
}

// Host is what a plugin gets from whoever runs it, the gateway or sdk/serve. The zero value gives nothing.
type Host struct {
	Log *slog.Logger // the plugin's own; nil: none
	Dir string       // an absolute path where the plugin may keep files between runs, which need not be there yet; "": nowhere
}

// Logger returns the log; one that nobody reads when there is none.
func (h Host) Logger() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// Factory makes a plugin for a configuration, JSON, which it decodes strictly: an unknown key is an error. ctx lends its
// values; the plugin lives until its Close.
type Factory func(ctx context.Context, config json.RawMessage, h Host) (*Plugin, error)

// HookSpec is one hook of a plugin.
type HookSpec struct {
	Name  string
	Phase Phase // PhaseUnknown: any
	Needs Needs
	Hook  Hook
}

// ObserverSpec is one observer of a plugin.
type ObserverSpec struct {
	Name     string
	Observer Observer
}

// Find returns the hook of that name and phase.
func (p *Plugin) Find(name string, phase Phase) (*HookSpec, bool) {
	for i := range p.Hooks {
		if h := &p.Hooks[i]; h.Name == name && (h.Phase == phase || h.Phase == PhaseUnknown) {
			return h, true
		}
	}
	return nil, false
}

// Validate reports what makes the plugin unusable: no name, a hook without name or code, the same hook twice.
func (p *Plugin) Validate() error {
	if p.Name == "" {
		return fmt.Errorf("plugin has no name")
	}
	type key struct {
		name  string
		phase Phase
	}
	seen := map[key]bool{}
	for i := range p.Hooks {
		h := &p.Hooks[i]
		k := key{h.Name, h.Phase}
		switch {
		case h.Name == "":
			return fmt.Errorf("plugin %q: hook %d has no name", p.Name, i)
		case h.Hook == nil:
			return fmt.Errorf("plugin %q: hook %q has no code", p.Name, h.Name)
		case h.Phase >= Log:
			return fmt.Errorf("plugin %q: hook %q: phase %v has no hooks", p.Name, h.Name, h.Phase)
		case seen[k]:
			return fmt.Errorf("plugin %q: hook %q of phase %v is listed twice", p.Name, h.Name, h.Phase)
		}
		seen[k] = true
	}
	for i, o := range p.Observers {
		if o.Name == "" || o.Observer == nil {
			return fmt.Errorf("plugin %q: observer %d has no name or no code", p.Name, i)
		}
	}
	if p.ConfigSchema != nil && !json.Valid(p.ConfigSchema) {
		return fmt.Errorf("plugin %q: its config schema is not JSON", p.Name)
	}
	return nil
}

// Need is a set of parts of an exchange.
type Need uint32

// The parts of an exchange that a hook can ask for. Method, path, scheme, host, request id, client address and, in the
// response phase, the status cost next to nothing and are always there.
const (
	NeedHeaders         Need = 1 << iota // the request's header, or of it what Needs.HeaderNames lists
	NeedQuery                            // the query
	NeedBody                             // the whole request body, buffered
	NeedResponseHeaders                  // response phase: the reply's header
	NeedResponseBody                     // response phase: the whole reply body, buffered
	NeedSession                          // who calls
	NeedValues                           // what earlier hooks left
	NeedPeer                             // the client's certificate
	NeedTrace                            // the trace context
	NeedNothing                          // none but what other bits say: without it, an empty set means NeedDefault

	// NeedDefault is what a hook gets that says nothing: everything but bodies and certificates.
	NeedDefault = NeedHeaders | NeedQuery | NeedResponseHeaders | NeedSession | NeedValues | NeedTrace
)

// Needs is what a hook wants of an exchange. What it does not need may be absent from what it sees; a hook out of
// process is sent nothing else.
type Needs struct {
	Fields      Need
	HeaderNames []string // with NeedHeaders: these only; empty: all
	BodyLimit   int64    // bytes; 0: the policy's default
}

// Has reports whether every part of n is needed; the empty set means NeedDefault.
func (n Needs) Has(part Need) bool {
	f := n.Fields
	if f == 0 {
		f = NeedDefault
	}
	return f&part == part
}

// A Needer is a Hook that knows what it needs. What it says may change between calls, when its server was replaced.
type Needer interface {
	Needs() Needs
}

// Observer takes records and events of exchanges that have ended. Observe is called with one batch at a time, off the
// request's path, every 10 ms at most unless much waits; the batch and what it holds are the observer's to keep. While it
// runs, what comes meanwhile waits in a bounded queue, then is dropped and counted. An error is logged and counted, the batch not offered again.
type Observer interface {
	Observe(ctx context.Context, b Batch) error
}

// ObserverFunc makes a function an [Observer].
type ObserverFunc func(ctx context.Context, b Batch) error

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, b Batch) error { return f(ctx, b) }
