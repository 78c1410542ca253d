package script

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// About is what a script says of itself by its exports. It is read only once made.
type About struct {
	Hooks  map[string]AboutHook
	Schema []byte // JSON Schema of its hooks' configuration; nil: anything
	// Observers are the names of what takes records and events, sorted.
	Observers []string
}

// AboutHook is what a script says of one of its hooks.
type AboutHook struct {
	Phase sdk.Phase // PhaseUnknown: any
	Needs sdk.Needs
}

// Check says that the script of that name exports no hook for such a use; nil when it does.
func (a *About) Check(plugin string, u *sdk.HookUse) error {
	if h, ok := a.Hooks[u.Name]; ok && (h.Phase == sdk.PhaseUnknown || h.Phase == u.Phase) {
		return nil
	}
	return fmt.Errorf("%w: script %q exports no hook %q for phase %v", sdk.ErrUnimplemented, plugin, u.Name, u.Phase)
}

// Needs is what the binding's hooks need together.
func (a *About) Needs(b *coprocess.Binding) sdk.Needs {
	all := a.Hooks[b.Hooks[0].Name].Needs
	for _, u := range b.Hooks[1:] {
		all = wire.Union(all, a.Hooks[u.Name].Needs)
	}
	return all
}

// ParseNeeds reads the names of needs as scripts spell them.
func ParseNeeds(names []string) (sdk.Need, error) {
	var all sdk.Need
	for _, n := range names {
		switch n {
		case "headers":
			all |= sdk.NeedHeaders
		case "query":
			all |= sdk.NeedQuery
		case "body":
			all |= sdk.NeedBody
		case "response_headers":
			all |= sdk.NeedResponseHeaders
		case "response_body":
			all |= sdk.NeedResponseBody
		case "session":
			all |= sdk.NeedSession
		case "values":
			all |= sdk.NeedValues
		case "peer":
			all |= sdk.NeedPeer
		case "trace":
			all |= sdk.NeedTrace
		case "default":
			all |= sdk.NeedDefault
		default:
			return 0, fmt.Errorf("unknown need %q", n)
		}
	}
	if all == 0 {
		all = sdk.NeedNothing // the empty set would mean the default
	}
	return all, nil
}
