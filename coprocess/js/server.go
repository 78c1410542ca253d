package js

import (
	"context"
	"errors"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/modern"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/tykapi"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Server is an opened plugin. It is safe for concurrent use.
type Server struct {
	options  Options
	plugin   script.Plugin
	engine   *engine.Engine
	about    *script.About // nil for Tyk's
	schema   *coprocess.Schema
	files    *script.Files // owned; may be nil
	counters *script.Counters
}

var (
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open makes a server of the plugin p, whose Watch is required. It compiles the files and runs them once, so that what is
// wrong with them is an error now, with file and line. p.Files stays the caller's.
func Open(ctx context.Context, p script.Plugin, o Options) (*Server, error) {
	return open(ctx, p, o, func(a engine.API) engine.API { return a })
}

// open lets tests add to the interface.
func open(ctx context.Context, p script.Plugin, o Options, with func(engine.API) engine.API) (*Server, error) {
	if p.Watch == nil {
		return nil, fmt.Errorf("plugin %q: there is no watch over its calls", p.Name)
	}
	if p.Counters == nil {
		p.Counters = &script.Counters{}
	}
	s := &Server{options: o, plugin: p, counters: p.Counters}
	var api engine.API = modern.API{}
	if o.Tyk {
		tyk, err := tykapi.New()
		if err != nil {
			return nil, err
		}
		api = tyk
	}
	var err error
	if s.engine, err = engine.New(ctx, &s.plugin, engine.Options{API: with(api), Modules: !o.Tyk}); err != nil {
		return nil, err
	}
	if o.Tyk {
		return s, nil
	}
	if err = s.engine.Call(ctx, nil, func(vm *engine.VM) (err error) {
		s.about, err = modern.Describe(vm)
		return err
	}); err == nil {
		s.schema, err = coprocess.NewSchema(p.Name, s.about.Schema)
	}
	if err != nil {
		s.engine.Close()
		return nil, err
	}
	return s, nil
}

// Hook implements [coprocess.Server]. It refuses a configuration that is not as the script's schema has it.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	return s.schema.Hook(s, use)
}

// Group implements [coprocess.Server].
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) {
	return coprocess.Group(s, hooks)
}

// Protocol implements [coprocess.Dispatcher].
func (s *Server) Protocol() string {
	if s.options.Tyk {
		return "tyk"
	}
	return "native"
}

// tykNeeds is what one of Tyk's middlewares may look at.
const tykNeeds = sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody

// Needs implements [coprocess.Dispatcher].
func (s *Server) Needs(b *coprocess.Binding) sdk.Needs {
	if s.options.Tyk {
		return sdk.Needs{Fields: tykNeeds}
	}
	return s.about.Needs(b)
}

// Check implements [coprocess.Checker].
func (s *Server) Check(b *coprocess.Binding) error {
	for i := range b.Hooks {
		u := &b.Hooks[i]
		if err := s.schema.Check(u); err != nil {
			return err
		}
		if s.options.Tyk {
			continue
		}
		if err := s.about.Check(s.plugin.Name, u); err != nil {
			return err
		}
	}
	return nil
}

// About is what the script says of itself; nil for Tyk's, which say nothing.
func (s *Server) About() *script.About { return s.about }

// Counters are what has happened to the plugin.
func (s *Server) Counters() *script.Counters { return s.counters }

// Quarantined reports whether the plugin is held for having gone over its bounds.
func (s *Server) Quarantined() bool { return s.engine.Held() }

// Dispatch implements [coprocess.Dispatcher].
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	if len(b.Hooks) > 1 {
		return coprocess.RunEach(ctx, s, b, x)
	}
	u := &b.Hooks[0]
	if s.options.Tyk {
		return s.run(ctx, x, func(vm *engine.VM) error { return tykapi.Call(vm, x, u, s.options.Sessions[u.Name]) })
	}
	if err := s.about.Check(s.plugin.Name, u); err != nil {
		return err
	}
	needs := s.about.Hooks[u.Name].Needs
	return s.run(ctx, x, func(vm *engine.VM) error { return modern.Call(vm, x, u, needs) })
}

// run has an interpreter do f, which leaves nothing of it on x if it fails.
func (s *Server) run(ctx context.Context, x *sdk.Exchange, f func(vm *engine.VM) error) error {
	err := s.engine.Call(ctx, x.Request().Header(), func(vm *engine.VM) error {
		vm.Undo.Keep(x)
		defer vm.Undo.Forget()
		err := f(vm)
		if err == nil {
			if bad := x.Invalid(); bad != nil {
				err = fmt.Errorf("%w: %w", sdk.ErrProtocol, bad)
			}
		}
		if err != nil {
			vm.Undo.Restore(x)
		}
		return err
	})
	if err == nil {
		return nil
	}
	if refusal := (*sdk.Error)(nil); errors.As(err, &refusal) {
		return refusal
	}
	return err
}

// Observer implements [coprocess.Server]: the function of that name in exports.observers; of Tyk's scripts, which know no
// records, the global event handler of that name (reference §4.12).
func (s *Server) Observer(name string) sdk.Observer {
	return sdk.ObserverFunc(func(ctx context.Context, b sdk.Batch) error {
		if !s.options.Tyk {
			return s.engine.Call(ctx, nil, func(vm *engine.VM) error { return modern.Observe(vm, name, b) })
		}
		var all error
		for i := range b.Events {
			all = errors.Join(all, s.engine.Call(ctx, nil, func(vm *engine.VM) error { return tykapi.Event(vm, name, &b.Events[i]) }))
		}
		return all
	})
}

// Virtual is the global function of that name, of Tyk's scripts, as a virtual endpoint (reference §4.11): a hook that
// answers. It knows its needs, and its protocol is Tyk's.
func (s *Server) Virtual(function string, useSession bool) *Virtual {
	return &Virtual{s, function, useSession}
}

// Virtual is a virtual endpoint.
type Virtual struct {
	server     *Server
	function   string
	useSession bool
}

var (
	_ sdk.Hook   = (*Virtual)(nil)
	_ sdk.Needer = (*Virtual)(nil)
)

// Handle implements [sdk.Hook].
func (v *Virtual) Handle(ctx context.Context, x *sdk.Exchange) error {
	err := v.server.run(ctx, x, func(vm *engine.VM) error { return tykapi.Virtual(vm, x, v.function, v.useSession) })
	if err != nil {
		return fmt.Errorf("virtual endpoint %q: %w", v.function, err)
	}
	return nil
}

// Needs implements [sdk.Needer].
func (v *Virtual) Needs() sdk.Needs { return sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody} }

// Protocol says that failures have the statuses that Tyk's scripts have.
func (v *Virtual) Protocol() string { return "tyk" }

// Close ends the calls that are under way and waits for them.
func (s *Server) Close() error {
	s.engine.Close()
	if s.files != nil {
		return s.files.Close()
	}
	return nil
}
