package sdk

import "time"

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

// GroupBacking is a [Backing] that wants the record of every hook of a group, hooks that one call ran in order. index
// counts from 0 within the group; hooks that did not run have no record. Name and phase are set, the server's name is
// the host's to add.
type GroupBacking interface {
	HookDone(index int, r HookRecord)
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

// WantsCallDone reports whether the host takes timings, so that a runtime need not read the clock for nobody.
func (x *Exchange) WantsCallDone() bool {
	_, ok := x.backing.(CallBacking)
	return ok
}
