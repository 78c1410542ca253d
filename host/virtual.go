package host

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A virtualServer is a plugin server some of whose functions answer paths of their own (reference §4.11).
type virtualServer interface {
	// Virtual returns the function of that name as a hook that answers; withSession gives it the caller's session.
	Virtual(function string, withSession bool) sdk.Hook
}

// virtualFailure is what Tyk's clients read when such a function fails.
const virtualFailure = "Error during virtual endpoint execution. Contact Administrator for more details."

// virtualStep answers virtual endpoints, after all that changes requests and before post hooks, which do not run then.
type virtualStep struct {
	paths *rules.Virtual
	steps []step // one for each path
}

// virtual adds the step for the virtual endpoints of a version, if there are any.
func (c *compiler) virtual(steps []step, list []config.VirtualEndpoint) ([]step, error) {
	paths, err := rules.CompileVirtual(list)
	if paths == nil || err != nil {
		return steps, err
	}
	v := &virtualStep{paths: paths}
	for _, e := range list {
		server, err := c.server(e.Script)
		if err != nil {
			return nil, err
		}
		from, ok := server.(virtualServer)
		if !ok {
			return nil, fmt.Errorf("virtual endpoint %s: script %s cannot answer paths", e.Path, e.Script)
		}
		ref := config.HookRef{Server: e.Script, Name: e.Function}
		if e.Forward {
			ref.OnError = config.OnErrorSkip
		}
		p, err := c.placed(ref, sdk.Post, server, func(sdk.HookUse) (sdk.Hook, error) { return from.Virtual(e.Function, e.WithSession), nil })
		if err != nil {
			return nil, err
		}
		s := c.step(p.hook, []placed{p})
		s.message = virtualFailure
		v.steps = append(v.steps, s)
	}
	return append(steps, v), nil
}

func (v *virtualStep) run(st *state) error {
	i := v.paths.Find(st.f.X.Request().Method(), st.rest())
	if i < 0 {
		return nil
	}
	return v.steps[i].run(st)
}
