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
	// Enabled false turns a plugin off that the settings turn on for every API. Default true.
	Enabled bool `yaml:"enabled"`
	// Server is under what name its hooks and observers stand: the plugin's, and for further uses of it NAME-2 and so on.
	Server string `yaml:"-"`
}

// SetDefaults fills in what holds of a use that says nothing.
func (u *PluginUse) SetDefaults() { u.Enabled = true }

// ParseBuiltin makes a plugin of the plugin.yaml of one that is part of the gateway, which needs no server. check, which may
// be nil, says what is wrong with a configuration that the schema accepts; its error begins with the plugin's name, and then
// with the path of the setting if it knows it.
func ParseBuiltin(name, manifest string, check func(config json.RawMessage) error) (*Plugin, Problems) {
	p := &Plugin{Name: name, builtin: true, check: check}
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

// use adds hooks and observers of the ready-made plugins that a definition uses, and before them those that the settings
// turn on for every API: a definition's own uses of a plugin take their place. at is the path of the definition's list.
func (l Loader) use(d *Definition, at string) Problems {
	v := useValidator{builtins: l.Builtins}
	var on []PluginUse
	var places []string
	for _, u := range l.Use {
		own := slices.ContainsFunc(d.Use, func(o PluginUse) bool { return o.Plugin == u.Plugin })
		if !own && u.Enabled {
			on, places = append(on, u), append(places, "$.use of the settings")
		}
	}
	for i, u := range d.Use {
		place := document.Index(at, i)
		if v.use(&u, place) != nil && u.Enabled {
			on, places = append(on, u), append(places, place)
		}
	}
	d.Use = nil
	var front Hooks
	for i, u := range on {
		if p := v.find(u.Plugin); p != nil {
			u.turnOn(p, d, &front, places[i])
		}
	}
	d.Hooks.Pre = append(front.Pre, d.Hooks.Pre...)
	d.Hooks.PostKeyAuth = append(front.PostKeyAuth, d.Hooks.PostKeyAuth...)
	d.Hooks.Post = append(front.Post, d.Hooks.Post...)
	d.Hooks.Response = append(front.Response, d.Hooks.Response...)
	return v.problems
}

// turnOn adds what the plugin p has, under a name that nothing else has in the definition.
func (u PluginUse) turnOn(p *Plugin, d *Definition, front *Hooks, at string) {
	u.Server = p.Name
	for n := 2; d.Builtin(u.Server) != nil; n++ {
		u.Server = fmt.Sprintf("%s-%d", p.Name, n)
	}
	d.Use = append(d.Use, u)
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

// useValidator checks uses of ready-made plugins.
type useValidator struct {
	validator
	builtins []*Plugin
}

func (v *useValidator) find(name string) *Plugin {
	i := slices.IndexFunc(v.builtins, func(p *Plugin) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return v.builtins[i]
}

// use checks one that stands at a path. It returns the plugin; nil when something is wrong.
func (v *useValidator) use(u *PluginUse, at string) *Plugin {
	p := v.find(u.Plugin)
	if p == nil {
		v.errorf(at+".plugin", "there is no ready-made plugin %q: there is %s", u.Plugin, v.names())
		return nil
	}
	if !u.Enabled {
		return p
	}
	wrong := p.CheckConfig(u.Config)
	for _, problem := range wrong {
		v.errorf(at+".config"+strings.TrimPrefix(problem.Path, "$"), "by the schema of plugin %q: %s", p.Name, problem.Message)
	}
	if len(wrong) > 0 {
		return nil
	}
	if p.check == nil {
		return p
	}
	if err := p.check(u.Config); err != nil {
		path, message := split(strings.TrimPrefix(err.Error(), p.Name+": "))
		v.errorf(at+".config"+path, "plugin %q: %s", p.Name, message)
		return nil
	}
	return p
}

// split takes the path of a setting off the text of an error, if it begins with one.
func split(text string) (path, message string) {
	path, message, found := strings.Cut(text, ": ")
	if !found || path == "" || strings.Trim(path, "abcdefghijklmnopqrstuvwxyz0123456789_.[]") != "" {
		return "", text
	}
	return "." + path, message
}

func (v *useValidator) names() string {
	names := make([]string, len(v.builtins))
	for i, p := range v.builtins {
		names[i] = p.Name
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
