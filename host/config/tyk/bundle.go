package tyk

import (
	"path"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// bundle opens the bundles that the definition names. Their hooks take the place of its own (reference §7).
func (t *translation) bundle() {
	named := t.get("custom_middleware_bundle")
	names := t.text(named)
	if names == "" || t.truth(t.get("custom_middleware_bundle_disabled")) {
		return
	}
	if t.options.Bundles == nil {
		t.errorf(named, "bundles cannot be opened here")
		return
	}
	wiring := &document.Node{Kind: document.Mapping, File: named.File, Line: named.Line, Col: named.Col}
	t.wired = map[string]*config.Bundle{}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		b, err := t.options.Bundles.Open(name)
		if err != nil {
			t.decoder.Report(config.BundleProblem(named, err))
			continue
		}
		t.def.Bundles = append(t.def.Bundles, name)
		if b.Plugin != nil {
			t.native = append(t.native, b)
			continue
		}
		label := "bundle " + name + ": custom_middleware"
		t.wired[label] = b
		own, problems := document.Parse(label+".json", b.Wiring)
		for _, p := range problems {
			t.decoder.Report(p)
		}
		if problems.Refused() {
			continue
		}
		own.Stamp(label)
		t.merge(wiring, own)
	}
	if own := t.get("custom_middleware"); own != nil && asks(own) {
		t.warnf(own, "has no effect: the hooks are those of custom_middleware_bundle")
	}
	for _, f := range t.root.Fields {
		if strings.EqualFold(f.Key, "custom_middleware") {
			t.root.Remove(f.Key)
		}
	}
	t.root.Set(wiring, "custom_middleware")
}

// merge puts the wiring of one bundle behind that of those before: lists one after the other, one auth hook at most, the
// first extractor, one driver.
func (t *translation) merge(all, one *document.Node) {
	for _, f := range one.Fields {
		key, before := strings.ToLower(f.Key), all.Get(strings.ToLower(f.Key))
		switch {
		case f.Value.Kind == document.Null, zero(f.Value) && key != "driver":
			continue // tyk bundle build writes hooks that there are not
		case before == nil:
			all.Set(f.Value, key)
		case before.Kind == document.Sequence && f.Value.Kind == document.Sequence:
			joined := &document.Node{Kind: document.Sequence, File: before.File, Line: before.Line, Col: before.Col}
			for _, item := range append(before.Items, f.Value.Items...) {
				joined.Append(item)
			}
			all.Set(joined, key)
		case key == "driver" && before.Text != f.Value.Text:
			t.errorf(f.Value, "driver %q, and another bundle of the definition has %q: all must have one", f.Value.Text, before.Text)
		case key == "auth_check":
			t.errorf(f.Value, "another bundle of the definition has an auth_check already: there can be one")
		}
	}
}

// bundleOf is the bundle that a node of the wiring is from; nil when it is the definition's own.
func (t *translation) bundleOf(n *document.Node) *config.Bundle {
	if n == nil {
		return nil
	}
	return t.wired[n.File]
}

// bundled adds a file of a bundle to a script of the API.
func (t *translation) bundled(b *config.Bundle, script string, file *document.Node) {
	source, err := b.Source(t.text(file), file.Path())
	if err != nil {
		t.decoder.Report(config.BundleProblem(file, err))
		return
	}
	t.source(script, source)
}

// bundledLua gives the script all Lua of the bundles, which Tyk loads whole, in the order of the lists.
func (t *translation) bundledLua(s *config.Script) {
	for _, name := range t.def.Bundles {
		for _, b := range t.wired {
			if b.Name != name {
				continue
			}
			at := t.get("custom_middleware_bundle")
			for _, file := range b.Files.Names() {
				if path.Ext(file) != ".lua" {
					continue
				}
				source, err := b.Source(file, at.Path())
				if err != nil {
					t.decoder.Report(config.BundleProblem(at, err))
					continue
				}
				s.Sources = append(s.Sources, source)
			}
			texts, err := b.Texts()
			if err != nil {
				t.decoder.Report(config.BundleProblem(at, err))
				continue
			}
			if s.Files == nil {
				s.Files = map[string]string{}
			}
			for file, text := range texts {
				if _, taken := s.Files[file]; !taken {
					s.Files[file] = text
				}
			}
		}
	}
}

// nativeHooks adds the hooks of bundles of ours, behind all others. An auth hook is one that the definition turns on
// where it says so, see custom.
func (t *translation) nativeHooks() {
	at := t.get("custom_middleware_bundle")
	h := &t.def.Hooks
	for _, b := range t.native {
		for _, one := range b.Plugin.Hooks {
			ref := config.HookRef{Server: b.ID, Name: one.Name, Path: at.Path()}
			switch one.Phase {
			case config.PhasePre:
				h.Pre = append(h.Pre, ref)
			case config.PhasePostKeyAuth:
				if !t.def.Keyless {
					h.PostKeyAuth = append(h.PostKeyAuth, ref)
				}
			case config.PhasePost:
				h.Post = append(h.Post, ref)
			case config.PhaseResponse:
				h.Response = append(h.Response, ref)
			case config.PhaseAuth: // see custom
				if !t.def.Keyless && !t.def.Auth.Has(config.AuthHook) {
					t.errorf(at, "bundle %q has the auth hook %q, which custom_plugin_auth_enabled must turn on", b.Name, one.Name)
				}
			}
		}
		for _, o := range b.Plugin.Observers {
			t.def.Observers = append(t.def.Observers, config.ObserverRef{Server: b.ID, Name: o.Name})
		}
	}
}

// nativeAuth are the auth hooks of bundles of ours, which custom_plugin_auth_enabled turns on.
func (t *translation) nativeAuth() []config.HookRef {
	var all []config.HookRef
	for _, b := range t.native {
		for _, one := range b.Plugin.Hooks {
			if one.Phase == config.PhaseAuth {
				all = append(all, config.HookRef{Server: b.ID, Name: one.Name, Path: t.get("custom_middleware_bundle").Path()})
			}
		}
	}
	return all
}
