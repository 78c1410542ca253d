package coprocess

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Hook makes a dispatcher's binding an [sdk.Hook]. It is the only adapter between the two.
type Hook struct {
	d Dispatcher
	b *Binding
}

var (
	_ sdk.Hook   = (*Hook)(nil)
	_ sdk.Needer = (*Hook)(nil)
)

// NewHook returns the hook that use describes, run by d.
func NewHook(d Dispatcher, use sdk.HookUse) (*Hook, error) {
	switch {
	case use.Name == "":
		return nil, errors.New("hook has no name")
	case use.Phase < sdk.Pre || use.Phase > sdk.ResponsePhase:
		return nil, fmt.Errorf("hook %q: phase %v has no hooks", use.Name, use.Phase)
	case use.Route == nil:
		return nil, fmt.Errorf("hook %q: belongs to no route", use.Name)
	}
	return &Hook{d, NewBinding(use)}, nil
}

// Group returns one hook that runs the given ones in order, or false when they are not all hooks of d with phase and
// route in common. Groups of groups are flattened.
func Group(d Dispatcher, hooks []sdk.Hook) (sdk.Hook, bool) {
	var uses []sdk.HookUse
	for _, h := range hooks {
		c, ok := h.(*Hook)
		if !ok || c.d != d {
			return nil, false
		}
		uses = append(uses, c.b.Hooks...)
	}
	if len(uses) == 0 {
		return nil, false
	}
	for _, u := range uses[1:] {
		if u.Phase != uses[0].Phase || u.Route != uses[0].Route {
			return nil, false
		}
	}
	return &Hook{d, NewBinding(uses...)}, true
}

// Handle dispatches the call. A change that no HTTP message could carry is garbage from the plugin, not a change.
func (h *Hook) Handle(ctx context.Context, x *sdk.Exchange) error {
	err := h.d.Dispatch(ctx, h.b, x)
	if err == nil {
		if bad := x.Invalid(); bad != nil {
			return fmt.Errorf("%s: %w: %w", h.b.name(), sdk.ErrProtocol, bad)
		}
		return nil
	}
	if refusal := (*sdk.Error)(nil); errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%s: %w", h.b.name(), err)
}

// Check says what keeps the hook from ever being called as it is used, such as a configuration that its plugin does not
// take; nil also while that is not known. Its calls fail with the same error.
func (h *Hook) Check() error {
	if c, ok := h.d.(Checker); ok {
		return c.Check(h.b)
	}
	return nil
}

// Needs says what the hook wants of an exchange: of a group, what all of them want together.
func (h *Hook) Needs() sdk.Needs { return h.d.Needs(h.b) }

// Protocol says what the hook's calls travel in; see [Dispatcher].
func (h *Hook) Protocol() string { return h.d.Protocol() }

func (b *Binding) name() string {
	if len(b.Hooks) == 1 {
		return fmt.Sprintf("hook %q", b.Hooks[0].Name)
	}
	names := make([]string, len(b.Hooks))
	for i := range b.Hooks {
		names[i] = b.Hooks[i].Name
	}
	return fmt.Sprintf("hooks %q", strings.Join(names, ", "))
}

// RunEach runs a group's hooks one call after the other, for a dispatcher whose server cannot run them in one. It
// leaves x with the changes of the last one noted; the host reads the others from the records.
func RunEach(ctx context.Context, d Dispatcher, b *Binding, x *sdk.Exchange) error {
	defer x.BeginMember(0)
	for i, one := range b.each {
		x.BeginMember(i)
		if i > 0 {
			x.Begin(one.Phase, one.Hooks[0].Config, false)
		}
		begun := time.Now()
		err := d.Dispatch(ctx, one, x)
		if err == nil {
			err = x.Invalid()
			if err != nil {
				err = fmt.Errorf("%w: %w", sdk.ErrProtocol, err)
			}
		}
		r := sdk.HookRecord{
			Name: one.Hooks[0].Name, Phase: one.Phase, Outcome: sdk.OutcomeOf(err, x), Changed: x.Changes(), Duration: time.Since(begun),
		}
		if err != nil {
			r.Error = err.Error()
		}
		x.HookDone(i, r)
		if err != nil || x.Changes()&sdk.ChangedAnswer != 0 && b.Phase != sdk.ResponsePhase {
			return err
		}
	}
	return nil
}
