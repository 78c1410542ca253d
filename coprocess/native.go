package coprocess

import (
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// This file is what runtimes that speak the native protocol have in common.

// ApplyReply makes the changes of a call's reply to x, and passes on what the hooks logged and counted. Of a group, the
// notes of each hook come before its record. r is memory to use; afterwards it holds what [wire.ApplyReply] says, whose
// errors are returned.
func ApplyReply(reply []byte, b *Binding, x *sdk.Exchange, r *wire.Result) error {
	err := wire.ApplyReply(reply, x, r)
	logs, counters := r.Logs, r.Counters
	if len(b.Hooks) > 1 {
		for i := range r.Outcomes {
			hook := r.Outcomes[i].Hook
			logs, counters = notes(x, logs, counters, hook)
			if int(hook) < len(b.Hooks) {
				x.HookDone(int(hook), record(b, x, r.Outcomes, i, err))
			}
		}
	}
	for _, l := range logs {
		x.Log(l.Level, l.Message)
	}
	for _, c := range counters {
		x.Count(c.Name, c.Delta)
	}
	return err
}

// notes passes on those up to the given hook and returns the rest.
func notes(x *sdk.Exchange, logs []wire.LogLine, counters []wire.Counter, hook uint32) ([]wire.LogLine, []wire.Counter) {
	for ; len(logs) > 0 && logs[0].Hook <= hook; logs = logs[1:] {
		x.Log(logs[0].Level, logs[0].Message)
	}
	for ; len(counters) > 0 && counters[0].Hook <= hook; counters = counters[1:] {
		x.Count(counters[0].Name, counters[0].Delta)
	}
	return logs, counters
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
