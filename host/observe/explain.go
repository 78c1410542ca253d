package observe

import (
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Explainer is told of every exchange what each of its hooks made of it. That costs copies of whole exchanges before and
// after each hook, and a call of its own for each: it is for those who write plugins, not for gateways that serve.
type Explainer interface {
	// Explain takes what became of an exchange after its reply has been sent, on the goroutine that served it: whoever
	// takes his time holds up the client's connection. It is called by many at once. e is the explainer's to keep.
	Explain(e *Explained)
}

// Explained is what became of one exchange.
type Explained struct {
	// Record is what observers are told of it, whether there are any or not.
	Record *sdk.Record
	// Hooks are the calls in their order. Hooks behind the one that ended the exchange are not among them.
	Hooks []ExplainedHook
	// Reply is the exchange when its reply was sent.
	Reply sdk.Snapshot
}

// ExplainedHook is one call of a hook.
type ExplainedHook struct {
	Name   string
	Server string
	Phase  sdk.Phase
	// Before is the exchange as the hook got it, After as the gateway went on with it: what a failing hook changed and its
	// policy took back is in neither. Bodies are in them as far as the hook needs them.
	Before, After sdk.Snapshot
	Outcome       sdk.Outcome
	// Err is why the call gave no result; an [*sdk.Error] in it is the hook's refusal. Nil: it gave one.
	Err error
	// Called is false when the hook's policy kept the call from it.
	Called   bool
	Duration time.Duration
	Log      []ExplainedLine
	Counts   map[string]int64
}

// ExplainedLine is a line that a hook logged.
type ExplainedLine struct {
	Level   slog.Level
	Message string
}
