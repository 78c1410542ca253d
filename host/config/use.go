package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// PluginUse turns on a ready-made plugin: one that is part of the gateway. Its hooks run before the API's own of their
// phase, in the order in which plugins stand, and its observers beside the API's.
type PluginUse struct {
	// Plugin is the plugin's name.
	Plugin string `yaml:"plugin"`
	// Config is the plugin's configuration, a JSON value as its schema has it; nil is {}.
	Config json.RawMessage `yaml:"config"`
	// Server is under what name its hooks and observers stand: the plugin's, and for further uses of it NAME-2 and so on.
	Server string `yaml:"-"`
}

// ParseBuiltin makes a plugin of the plugin.yaml of one that is part of the gateway, which needs no server.
func ParseBuiltin(name, manifest string) (*Plugin, Problems) {
	p := &Plugin{Name: name, builtin: true}
	root, problems := document.Parse(name+"/"+PluginFile, []byte(manifest))
	if problems.Refused() {
		return p, problems
	}
	problems = append(problems, document.Decode(root, p)...)
	f := fileFields{folder: folder{}}
	p.compileSchema(&f)
	problems = problems.And(document.Locate(append(f.problems, p.Validate()...), root.Find))
	for _, h := range p.Hooks {
		canonical(h.Needs.Headers.Names)
		canonical(h.Needs.ResponseHeaders.Names)
	}
	return p, problems.Sort()
}

// Builtin returns the definition's use of a ready-made plugin that stands under that name; nil when there is none.
func (d *Definition) Builtin(server string) *PluginUse {
	for i := range d.Use {
		if d.Use[i].Server == server && server != "" {
			return &d.Use[i]
		}
	}
	return nil
}

// use adds hooks and observers of the ready-made plugins that a definition uses.
func (l Loader) use(d *Definition) Problems {
	var v validator
	var front Hooks
	for i := range d.Use {
		l.turnOn(&v, d, &front, &d.Use[i], document.Index("$.use", i))
	}
	d.Hooks.Pre = append(front.Pre, d.Hooks.Pre...)
	d.Hooks.PostKeyAuth = append(front.PostKeyAuth, d.Hooks.PostKeyAuth...)
	d.Hooks.Post = append(front.Post, d.Hooks.Post...)
	d.Hooks.Response = append(front.Response, d.Hooks.Response...)
	return v.problems
}

func (l Loader) turnOn(v *validator, d *Definition, front *Hooks, u *PluginUse, at string) {
	i := slices.IndexFunc(l.Builtins, func(p *Plugin) bool { return p.Name == u.Plugin })
	if i < 0 {
		v.errorf(at+".plugin", "there is no ready-made plugin %q: there is %s", u.Plugin, l.builtinNames())
		return
	}
	p := l.Builtins[i]
	for _, problem := range p.CheckConfig(u.Config) {
		v.errorf(at+".config"+strings.TrimPrefix(problem.Path, "$"), "by the schema of plugin %q: %s", p.Name, problem.Message)
	}
	server := p.Name
	for n := 2; d.Builtin(server) != nil; n++ {
		server = fmt.Sprintf("%s-%d", p.Name, n)
	}
	u.Server = server
	for _, h := range p.Hooks {
		ref := HookRef{Server: u.Server, Name: h.Name, Path: at}
		switch h.Phase {
		case PhasePre:
			front.Pre = append(front.Pre, ref)
		case PhasePostKeyAuth:
			front.PostKeyAuth = append(front.PostKeyAuth, ref)
		case PhasePost:
			front.Post = append(front.Post, ref)
		case PhaseResponse:
			front.Response = append(front.Response, ref)
		}
	}
	for _, o := range p.Observers {
		d.Observers = append(d.Observers, ObserverRef{Server: u.Server, Name: o.Name})
	}
}

func (l Loader) builtinNames() string {
	names := make([]string, len(l.Builtins))
	for i, p := range l.Builtins {
		names[i] = p.Name
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
