package lua

import (
	"context"
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// describe reads the exports. The error names what of them is not as it should be.
func (m *machine) describe() (script.About, error) {
	a := script.About{Hooks: map[string]script.AboutHook{}}
	exports := m.exports()
	if exports == nil {
		return a, fmt.Errorf("plugin %q: exports is not a table any more", m.s.p.Name)
	}
	said, _ := exports.RawGetString("hooks").(*lua.LTable)
	for k, v := exports.Next(lua.LNil); k != lua.LNil; k, v = exports.Next(k) {
		name, ok := k.(lua.LString)
		if _, function := v.(*lua.LFunction); !ok || !function || strings.HasPrefix(string(name), "_") {
			continue
		}
		var h script.AboutHook
		if p, err := sdk.ParsePhase(string(name)); err == nil && p < sdk.Log {
			h.Phase = p
		}
		if said != nil {
			if err := readHook(&h, said.RawGetString(string(name))); err != nil {
				return a, fmt.Errorf("plugin %q: exports.hooks[%q]: %w", m.s.p.Name, name, err)
			}
		}
		a.Hooks[string(name)] = h
	}
	if said != nil {
		for k, _ := said.Next(lua.LNil); k != lua.LNil; k, _ = said.Next(k) {
			if _, ok := a.Hooks[k.String()]; !ok {
				return a, fmt.Errorf("plugin %q: exports.hooks names %q, which exports does not have", m.s.p.Name, k.String())
			}
		}
	}
	a.Observers = functions(exports.RawGetString("observers"))
	var err error
	switch schema := exports.RawGetString("config_schema").(type) {
	case lua.LString:
		a.Schema = []byte(schema)
	case *lua.LTable:
		if a.Schema, err = m.state.EncodeJSON(nil, schema); err != nil {
			return a, fmt.Errorf("plugin %q: exports.config_schema: %w", m.s.p.Name, err)
		}
	}
	return a, nil
}

// functions are the names of a table's functions, sorted.
func functions(v lua.LValue) []string {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil
	}
	var names []string
	for k, f := t.Next(lua.LNil); k != lua.LNil; k, f = t.Next(k) {
		if name, ok := k.(lua.LString); ok && f.Type() == lua.LTFunction {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// exports is the table of that name, nil when a script made it something else.
func (m *machine) exports() *lua.LTable {
	t, _ := m.state.Global("exports").(*lua.LTable)
	return t
}

// readHook reads what exports.hooks says of one hook.
func readHook(h *script.AboutHook, v lua.LValue) error {
	if v == lua.LNil {
		return nil
	}
	t, ok := v.(*lua.LTable)
	if !ok {
		return fmt.Errorf("a %s, want a table", v.Type())
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		var err error
		switch k.String() {
		case "phase":
			h.Phase, err = sdk.ParsePhase(v.String())
		case "needs":
			var names []string
			if names, err = session.ReadTexts(v); err == nil {
				h.Needs.Fields, err = script.ParseNeeds(names)
			}
		case "headers":
			h.Needs.HeaderNames, err = session.ReadTexts(v)
		case "body_limit":
			n, ok := v.(lua.LNumber)
			if h.Needs.BodyLimit = int64(n); !ok || n < 0 {
				err = fmt.Errorf("%s is no number of bytes", v)
			}
		default:
			err = fmt.Errorf("unknown: want phase, needs, headers or body_limit")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

// Observer implements [coprocess.Server]: the function of that name in exports.observers, or for Tyk's scripts, which know
// no records, a global function that is given each event as a table.
func (s *Server) Observer(name string) sdk.Observer {
	return sdk.ObserverFunc(func(ctx context.Context, b sdk.Batch) error {
		return s.run(ctx, func(m *machine) error { return m.observe(name, b) })
	})
}

func (m *machine) observe(name string, b sdk.Batch) error {
	f := lua.LValue(lua.LNil)
	if m.s.o.Tyk {
		f = m.state.Global(name)
	} else if e := m.exports(); e != nil {
		if all, ok := e.RawGetString("observers").(*lua.LTable); ok {
			f = all.RawGetString(name)
		}
	}
	if f.Type() != lua.LTFunction {
		return fmt.Errorf("%w: script %q has no observer %q", sdk.ErrUnimplemented, m.s.p.Name, name)
	}
	if !m.s.o.Tyk {
		return m.state.Call(f, 0, m.batch(b))
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := m.state.Call(f, 0, m.event(e), session.Map(m.state, map[string]string{"APIID": e.Route, "OrgID": e.Org})); err != nil {
			return err
		}
	}
	return nil
}
