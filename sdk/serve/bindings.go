package serve

import (
	"fmt"
	"iter"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// binding is a binding of a stream with the hooks it names.
type binding struct {
	wire.Binding
	hooks []*sdk.HookSpec // those before the first that the plugin does not have
	err   error           // what comes behind them, when nothing ended the call before
}

// bindings are those of one stream. They are read and changed by whoever receives frames, one at a time.
type bindings struct {
	plugin *sdk.Plugin
	byID   map[uint32]*binding
}

// maxBindings of one stream: more than any host has routes and hooks.
const maxBindings = 65536

// take adds bindings to those of the stream. One whose id is known replaces it for the calls that follow.
func (b *bindings) take(raw iter.Seq[[]byte]) error {
	for r := range raw {
		v, err := wire.DecodeBinding(r)
		if err != nil {
			return err
		}
		if len(b.byID) >= maxBindings && b.byID[v.ID] == nil {
			return fmt.Errorf("%w: more than %d bindings on one stream", sdk.ErrProtocol, maxBindings)
		}
		b.byID[v.ID] = resolve(b.plugin, v)
	}
	return nil
}

func resolve(p *sdk.Plugin, v *wire.Binding) *binding {
	out := &binding{Binding: *v}
	for _, use := range v.Hooks {
		spec, ok := p.Find(use.Name, v.Phase)
		if !ok {
			out.err = fmt.Errorf("%w: plugin %q, hook %q, phase %v", sdk.ErrUnimplemented, p.Name, use.Name, v.Phase)
			break
		}
		out.hooks = append(out.hooks, spec)
	}
	if len(v.Hooks) == 0 {
		out.err = fmt.Errorf("%w: binding %d names no hook", sdk.ErrProtocol, v.ID)
	}
	return out
}

// of returns the binding of that id.
func (b *bindings) of(id uint32) (*binding, error) {
	if v := b.byID[id]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("%w: binding %d was not sent on this stream", sdk.ErrProtocol, id)
}

// describe returns the reply to Describe.
func describe(p *sdk.Plugin, o Options) []byte {
	said := *p
	said.Hooks = nil
	for _, h := range p.Hooks {
		if n, ok := h.Hook.(sdk.Needer); ok {
			h.Needs = n.Needs()
		}
		said.Hooks = append(said.Hooks, h)
	}
	return wire.AppendDescribeReply(nil, &said, wire.Limits{FrameBytes: uint32(min(o.MaxMessage, 1<<31))})
}
