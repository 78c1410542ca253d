package sdktest

import (
	"errors"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Result is what a hook did.
type Result struct {
	Log

	// Err is why the exchange ended without an answer: what the hook returned, or else the first change it made that no
	// HTTP message could carry.
	Err error
	// Before and After are the exchange around the call.
	Before, After sdk.Snapshot
	// Changed is what the hook changed.
	Changed sdk.Change
}

// Ended reports whether the exchange ends here: the hook answered, refused or failed.
func (r *Result) Ended() bool { return r.Err != nil || r.After.Answered }

// Status is the status a client would see if the exchange ended with this hook: of its answer, of its [sdk.Error], or
// 503 when it failed; in the response phase, of the reply; else 0.
func (r *Result) Status() int {
	var e *sdk.Error
	switch {
	case errors.As(r.Err, &e):
		return e.Status
	case r.Err != nil:
		return 503
	}
	return r.After.Response.Status
}

// RequestHeader returns the first value of a header of the request as the hook left it, or "".
func (r *Result) RequestHeader(name string) string { return first(r.After.Request.Header, name) }

// ResponseHeader returns the first value of a header of the reply as the hook left it, or of the [sdk.Error] it
// returned, or "".
func (r *Result) ResponseHeader(name string) string {
	var e *sdk.Error
	if errors.As(r.Err, &e) {
		return first(e.Header, name)
	}
	return first(r.After.Response.Header, name)
}

func first(fields []sdk.Field, name string) string {
	for _, f := range fields {
		if sdk.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Run runs the plugin's hook of that name and phase on a new exchange. A plugin that is not valid or has no such hook
// ends the test.
func (b *Builder) Run(t testing.TB, p *sdk.Plugin, phase sdk.Phase, name string) *Result {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	spec, ok := p.Find(name, phase)
	if !ok {
		t.Fatalf("sdktest: plugin %q has no hook %q in phase %v", p.Name, name, phase)
	}
	return b.run(t, spec.Hook, phase, needsOf(spec))
}

// RunHook runs a hook on a new exchange. It is shown everything, unless it is an [sdk.Needer].
func (b *Builder) RunHook(t testing.TB, phase sdk.Phase, h sdk.Hook) *Result {
	t.Helper()
	needs := everything()
	if n, ok := h.(sdk.Needer); ok {
		needs = n.Needs()
	}
	return b.run(t, h, phase, needs)
}

func (b *Builder) run(t testing.TB, h sdk.Hook, phase sdk.Phase, needs sdk.Needs) *Result {
	r := &Result{}
	x := b.Exchange(phase, needs, &r.Log)
	r.Before = x.Snapshot()
	r.Err = h.Handle(t.Context(), x)
	if r.Err == nil {
		r.Err = x.Invalid()
	}
	r.After, r.Changed = x.Snapshot(), x.Changes()
	return r
}

// Observe hands a batch to the plugin's observer of that name and returns its error. A plugin that is not valid or has
// no such observer ends the test.
func Observe(t testing.TB, p *sdk.Plugin, name string, b sdk.Batch) error {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	for _, o := range p.Observers {
		if o.Name == name {
			return o.Observer.Observe(t.Context(), b)
		}
	}
	t.Fatalf("sdktest: plugin %q has no observer %q", p.Name, name)
	return nil
}
