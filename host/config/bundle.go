package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// A Bundle is a plugin as it was packed, of whose content somebody is sure who opened it. Nothing here verifies anything.
type Bundle struct {
	// Name is what it was asked for by, ID the name of the plugin in it: that of its releases, whatever their version.
	Name, ID string
	// Plugin is a bundle of ours; nil for one of Tyk's, whose custom_middleware is in Wiring.
	Plugin *Plugin
	Wiring json.RawMessage
	Files  BundleFiles
}

// BundleFiles are the files of a bundle.
type BundleFiles interface {
	// Names lists the files by their paths in the bundle, in the order in which its maker listed them.
	Names() []string
	// Read returns the content of one.
	Read(name string) ([]byte, error)
	// Folder returns the absolute path of a folder that holds the files as they are in the bundle, for processes.
	Folder() (string, error)
}

// Bundles open the bundles that definitions name.
type Bundles interface {
	// Open returns a bundle, or why not: a *BundleError.
	Open(name string) (*Bundle, error)
	// Among reports whether a plugin server's name is that of a bundle among the plugin folders.
	Among(server string) bool
}

// BundleError is why a bundle cannot be used.
type BundleError struct {
	Name string
	// Code is the stable name of the reason; Message says what is wrong and Advice what to do.
	Code, Message, Advice string
}

// Error says what is wrong, with the code.
func (e *BundleError) Error() string {
	return fmt.Sprintf("bundle %q is refused: %s [%s]", e.Name, e.Message, e.Code)
}

// BundleProblem is what a definition has to say that wants a bundle, at a node of its file, when it cannot be used.
func BundleProblem(at *document.Node, err error) Problem {
	return at.At(SeverityError, bundleProblem("", err).Hint, "%s", err)
}

func bundleProblem(at string, err error) Problem {
	p := Problem{Path: at, Severity: SeverityError, Message: err.Error()}
	if e, ok := errors.AsType[*BundleError](err); ok {
		p.Hint = e.Advice
	}
	return p
}

// noBundles refuses all.
type noBundles struct{}

func (noBundles) Open(name string) (*Bundle, error) {
	return nil, &BundleError{Name: name, Code: "source_not_found", Message: "it is not said where bundles are"}
}
func (noBundles) Among(string) bool { return false }

// MaxBundledScripts bounds the texts of a bundle that runs inside the gateway, together.
const MaxBundledScripts = 64 << 20

// Texts reads all files of a bundle, for scripts that may require any of them.
func (b *Bundle) Texts() (map[string]string, error) {
	all, total := map[string]string{}, 0
	for _, name := range b.Files.Names() {
		data, err := b.Files.Read(name)
		if err != nil {
			return nil, err
		}
		if total += len(data); total > MaxBundledScripts {
			return nil, fmt.Errorf("the files have more than %d bytes together, which is too much for a plugin in scripts", MaxBundledScripts)
		}
		all[name] = string(data)
	}
	return all, nil
}

// ParseBundledPlugin makes a plugin of a bundle by its plugin.yaml. The plugin has the bundle's ID for a name, under which
// the hooks of definitions name it as their server.
func ParseBundledPlugin(b *Bundle, lookupEnv func(string) (string, bool)) (*Plugin, Problems) {
	label := "bundle " + b.Name + "/" + PluginFile
	data, err := b.Files.Read(PluginFile)
	if err != nil {
		return nil, Problems{{File: label, Severity: SeverityError, Message: err.Error()}}
	}
	p, problems := parsePlugin(label, data, folder{bundle: b.Files}, lookupEnv)
	p.Name, p.Bundle = b.ID, b.Name
	if p.script != nil && !problems.Refused() {
		p.script.Name = b.ID
		if err := p.script.bundled(b); err != nil {
			problems = append(problems, Problem{File: label, Severity: SeverityError, Message: err.Error()})
		}
	}
	return p, problems
}

// bundled has a script read everything from the bundle: from memory, or from its folder when the script runs in a process of
// its own.
func (s *Script) bundled(b *Bundle) (err error) {
	s.Python.Bundle = b.Name
	for i := range s.Sources {
		s.Sources[i].Bundle, s.Sources[i].File = b.Name, ""
	}
	switch {
	case s.Language == Python:
	case s.Isolate == IsolateProcess:
		s.Modules, err = b.Files.Folder()
	default:
		s.Files, err = b.Texts()
	}
	return err
}

// source reads a script of the bundle.
func (b *Bundle) source(name, at string) (ScriptSource, error) {
	clean := path.Clean(name)
	data, err := b.Files.Read(clean)
	if err == nil && len(data) > MaxScript {
		err = fmt.Errorf("%s: a script has at most %d bytes", clean, MaxScript)
	}
	return ScriptSource{Name: clean, Text: string(data), Bundle: b.Name, Path: at}, err
}

// Source reads a file of the bundle as a script's; at is where it is named, for messages.
func (b *Bundle) Source(name, at string) (ScriptSource, error) {
	s, err := b.source(name, at)
	if err != nil {
		return s, &BundleError{Name: b.Name, Code: "hook_path", Message: err.Error(), Advice: "list the file in the bundle, and build it again"}
	}
	return s, nil
}

// bundles gives a native definition the hooks of the bundles that it names, and makes servers of those that its hooks and
// observers name.
func (v *validator) bundles(d *Definition, open Bundles) {
	if open == nil {
		open = noBundles{}
	}
	for i, name := range slices.Clone(d.Bundles) {
		at := document.Index("$.bundles", i)
		if slices.Contains(d.Bundles[:i], name) {
			v.errorf(at, "bundle %q is named twice", name)
			continue
		}
		if b := v.open(open, at, name); b != nil {
			v.wire(d, b, at)
		}
	}
	each := func(at string, server *string, name, script string) {
		switch {
		case name != "" && (*server != "" || script != ""):
			v.errorf(at+".bundle", "a hook is in a bundle, in a script or on a server: name one of them")
			return
		case name == "" && *server != "" && script == "" && open.Among(*server):
			name = *server
		case name == "":
			return
		}
		if b := v.open(open, at+".bundle", name); b != nil {
			*server = b.ID
			d.addBundle(name)
		}
	}
	for _, p := range Phases() {
		for i, hooks := 0, d.Hooks.In(p); i < len(hooks); i++ {
			each(document.Index("$.hooks."+string(p), i), &hooks[i].Server, hooks[i].Bundle, hooks[i].Script)
		}
	}
	d.Auth.Walk(func(m *AuthMethod) {
		if m.Kind == AuthHook {
			each(m.Path, &m.Hook.Server, m.Hook.Bundle, m.Hook.Script)
		}
	})
	for i := range d.Observers {
		o := &d.Observers[i]
		each(document.Index("$.observers", i), &o.Server, o.Bundle, o.Script)
	}
}

func (d *Definition) addBundle(name string) {
	if !slices.Contains(d.Bundles, name) {
		d.Bundles = append(d.Bundles, name)
	}
}

// open opens a bundle of ours; nil when that is a problem.
func (v *validator) open(open Bundles, at, name string) *Bundle {
	b, err := open.Open(name)
	if err != nil {
		v.problems = append(v.problems, bundleProblem(at, err))
		return nil
	}
	if b.Plugin == nil {
		v.errorf(at, "bundle %q was made for Tyk: name it as custom_middleware_bundle of a classic definition", name)
		return nil
	}
	return b
}

// wire gives a definition all hooks and observers that a bundle has, after its own and in the order of plugin.yaml.
func (v *validator) wire(d *Definition, b *Bundle, at string) {
	for _, h := range b.Plugin.Hooks {
		ref := HookRef{Server: b.ID, Name: h.Name, Path: at}
		if h.Phase != PhaseAuth {
			d.Hooks.add(h.Phase, ref)
			continue
		}
		switch {
		case len(d.Auth.Any) > 0:
			v.errorf(at, "bundle %q has the auth hook %q, and the definition lets in whom one of auth.any does: name the hook there, with bundle: %s", b.Name, h.Name, b.Name)
		case len(d.Auth.All) > 0:
			d.Auth.All = append(d.Auth.All, AuthMethod{Kind: AuthHook, Hook: HookAuth{HookRef: ref}, Path: at})
		default:
			d.Hooks.Auth = append(d.Hooks.Auth, ref)
		}
	}
	for _, o := range b.Plugin.Observers {
		d.Observers = append(d.Observers, ObserverRef{Server: b.ID, Name: o.Name})
	}
	if len(b.Plugin.Hooks)+len(b.Plugin.Observers) == 0 {
		v.errorf(at, "bundle %q has no hooks and no observers: its plugin.yaml lists none", b.Name)
	}
}

// add puts a hook behind those of a phase.
func (h *Hooks) add(p Phase, ref HookRef) {
	switch p {
	case PhasePre:
		h.Pre = append(h.Pre, ref)
	case PhaseAuth:
		h.Auth = append(h.Auth, ref)
	case PhasePostKeyAuth:
		h.PostKeyAuth = append(h.PostKeyAuth, ref)
	case PhasePost:
		h.Post = append(h.Post, ref)
	case PhaseResponse:
		h.Response = append(h.Response, ref)
	}
}

// Unsigned says which parts of the definition are code that comes from no bundle: scripts in files, and in the definition
// itself.
func (d *Definition) Unsigned() Problems {
	var v validator
	for _, s := range d.Scripts {
		if s.Language == Python && s.Python.Bundle == "" {
			v.errorf(s.Python.Path, "the folder %q is in no bundle, and bundles.require_signed wants all code to be signed", s.Python.Folder)
		}
		for _, source := range s.Sources {
			if source.Bundle == "" {
				v.errorf(source.Path, "the script %q is in no bundle, and bundles.require_signed wants all code to be signed", source.Name)
			}
		}
	}
	for i := range v.problems {
		v.problems[i].File = d.Source.File
		v.problems[i].Hint = "pack it with turnbuckle bundle build, and name the bundle"
	}
	return v.problems
}
