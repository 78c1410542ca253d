// Package wire turns exchanges into messages and replies into changes of exchanges, for both protocols that
// proto/PROTOCOL.md specifies: turnbuckle.plugin.v1 and Tyk's coprocess. Both sides of each are here: a host appends
// calls and applies replies, a plugin server decodes calls and appends replies.
//
// Messages are written and read by hand: encoders append to a slice of the caller's, straight from the exchange, and
// allocate nothing themselves; decoders read from a slice of the caller's. What a decoder keeps beyond its return it
// copies, except where its comment says that something aliases the input. No decoder changes an exchange before the
// whole message has been found well-formed, and none allocates by what a message claims but only by what it holds.
//
// Decoders wrap [sdk.ErrProtocol]. They accept any bytes in string fields; encoders replace invalid UTF-8 there by
// U+FFFD, because other implementations refuse the whole message otherwise.
package wire

// Minor is the highest minor version of turnbuckle.plugin.v1 that this package speaks.
const Minor = 1

// Bounds on what one message may hold. A message over one is refused as a whole with [sdk.ErrProtocol], unless it says
// that the rest is ignored.
const (
	MaxFields   = 16384 // header lines of one message, header changes of an Answer included
	MaxChanges  = 4096  // header changes of one reply, for request and response each
	MaxItems    = 65536 // entries of any other list or map
	MaxHooks    = 256   // hooks of one binding; outcomes of a reply beyond them are ignored
	MaxNotes    = 256   // log lines and counters of one reply, each; the rest is ignored
	MaxLogBytes = 4096  // of one log line or failure message; the rest is cut off
)
