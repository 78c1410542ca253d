package coprocess

import (
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// This file is what runtimes that speak the native protocol have in common.

// ApplyReply makes the changes of a call's reply to x, and passes on what the hooks logged and counted, each under its
// own index; of a group, also the record of each hook. What names a hook beyond the binding is dropped. r is memory to
// use; afterwards it holds what [wire.ApplyReply] says, whose errors are returned.
func ApplyReply(reply []byte, b *Binding, x *sdk.Exchange, r *wire.Result) error {
	err := wire.ApplyReply(reply, x, r)
	hooks := uint32(len(b.Hooks))
	for i := range r.Logs {
		if l := &r.Logs[i]; l.Hook < hooks {
			x.HookLog(int(l.Hook), l.Level, l.Message)
		}
	}
	for i := range r.Counters {
		if c := &r.Counters[i]; c.Hook < hooks {
			x.HookCount(int(c.Hook), c.Name, c.Delta)
		}
	}
	if hooks > 1 {
		for i := range r.Outcomes {
			if hook := r.Outcomes[i].Hook; hook < hooks {
				x.HookDone(int(hook), record(b, x, r.Outcomes, i, err))
			}
		}
	}
	return err
}

// record is the outcome of one hook of a group. Only the last that ran can have ended the call.
func record(b *Binding, x *sdk.Exchange, outcomes []wire.HookOutcome, i int, err error) sdk.HookRecord {
	o := &outcomes[i]
	r := sdk.HookRecord{Name: b.Hooks[o.Hook].Name, Phase: b.Phase, Changed: o.Changed, Duration: o.Duration}
	switch {
	case i == len(outcomes)-1 && err != nil:
		r.Outcome, r.Error = sdk.OutcomeOf(err, x), err.Error()
	case o.Changed&sdk.ChangedAnswer != 0:
		r.Outcome = sdk.OutcomeAnswered
	}
	return r
}

// NeedsOf is what the binding's hooks need together, as their server describes them. A hook it does not describe gets
// what one gets that says nothing.
func NeedsOf(b *Binding, about *wire.Description) sdk.Needs {
	var all sdk.Needs
	for i, u := range b.Hooks {
		var n sdk.Needs
		if h, ok := about.Find(u.Name, u.Phase); ok {
			n = h.Needs
		}
		if i == 0 {
			all = n
		} else {
			all = wire.Union(all, n)
		}
	}
	return all
}

// WireBinding is the binding as it is sent, without a number.
func WireBinding(b *Binding) wire.Binding {
	v := wire.Binding{Phase: b.Phase, Route: b.Route}
	for _, u := range b.Hooks {
		v.Hooks = append(v.Hooks, wire.HookUse{Name: u.Name, Config: u.Config})
	}
	return v
}
