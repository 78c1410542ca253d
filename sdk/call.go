package sdk

import (
	"log/slog"
	"time"
)

// This file is what hosts and runtimes, the packages that carry calls to where hooks run, tell each other; plugins have
// no use for it.

// HookUse is one hook as one route uses it. It is immutable.
type HookUse struct {
	Name        string
	Phase       Phase
	Config      []byte // JSON; nil: the route's
	Route       *Route // never nil
	RawBodyOnly bool   // Tyk's protocol: leave out the text form of bodies
}

// CallTimings says where the time of one call of a runtime went.
type CallTimings struct {
	Encode time.Duration // making the message
	Queue  time.Duration // waiting for credit or for the frame to leave
	Wire   time.Duration // from leaving to the reply's arrival, the plugin's own time included
	Apply  time.Duration // from the reply's arrival until its effects held, waking the caller included
}

// CallBacking is a [Backing] that wants to know where the time of calls goes.
type CallBacking interface {
	CallDone(t CallTimings)
}

// GroupBacking is a [Backing] that tells apart the hooks of a group, hooks that one call ran in order. index counts
// from 0 within the group.
type GroupBacking interface {
	// HookDone takes the record of a hook. Hooks that did not run have none. Name and phase are set, the server's name
	// is the host's to add.
	HookDone(index int, r HookRecord)
	// HookLog and HookCount are Log and Count of a hook that is not the group's first.
	HookLog(index int, level slog.Level, message string)
	HookCount(index int, name string, delta int64)
}

// CallDone reports the timings of a call of the hook that runs. For runtimes.
func (x *Exchange) CallDone(t CallTimings) {
	if b, ok := x.backing.(CallBacking); ok {
		b.CallDone(t)
	}
}

// HookDone reports the record of one hook of the group that runs. For runtimes.
func (x *Exchange) HookDone(index int, r HookRecord) {
	if b, ok := x.backing.(GroupBacking); ok {
		b.HookDone(index, r)
	}
}

// HookLog is [Exchange.Log] of the hook with that index in the group that runs. For runtimes.
func (x *Exchange) HookLog(index int, level slog.Level, message string) {
	index += x.member
	if index > 0 {
		if b, ok := x.backing.(GroupBacking); ok {
			b.HookLog(index, level, message)
			return
		}
	}
	if x.backing != nil {
		x.backing.Log(level, message)
	}
}

// HookCount is [Exchange.Count] of the hook with that index in the group that runs. For runtimes.
func (x *Exchange) HookCount(index int, name string, delta int64) {
	index += x.member
	if index > 0 {
		if b, ok := x.backing.(GroupBacking); ok {
			b.HookCount(index, name, delta)
			return
		}
	}
	if x.backing != nil {
		x.backing.Count(name, delta)
	}
}

// BeginMember says which hook of a group runs, by its index, when they are called one after the other: what is logged
// and counted from now on is its own. A group ends with BeginMember(0). For runtimes.
func (x *Exchange) BeginMember(index int) { x.member = index }

// WantsCallDone reports whether the host takes timings, so that a runtime need not read the clock for nobody.
func (x *Exchange) WantsCallDone() bool {
	_, ok := x.backing.(CallBacking)
	return ok
}
