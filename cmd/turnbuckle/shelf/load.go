package shelf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// A Load is one reading of definitions. It is for one goroutine.
type Load struct {
	shelf  *Shelf
	ctx    context.Context
	lookup func(string) (string, bool)
	accept bool
	opened map[string]*opened
}

type opened struct {
	holding *bundled.Holding
	bundle  *config.Bundle
	err     error
	stamp   string
}

var _ config.Bundles = (*Load)(nil)

// Open returns the bundle of a name: verified, and what it says of itself read.
func (l *Load) Open(name string) (*config.Bundle, error) {
	if o := l.opened[name]; o != nil {
		return o.bundle, o.err
	}
	o := &opened{stamp: l.shelf.filesOf(name)}
	l.opened[name] = o
	if o.holding, o.err = l.get(name); o.err == nil {
		o.bundle, o.err = l.read(name, o.holding.Bundle())
	}
	if o.err != nil {
		o.err, o.bundle = problem(name, o.err), nil
	}
	if l.accept {
		l.shelf.note(name, o)
	}
	return o.bundle, o.err
}

func (l *Load) get(name string) (*bundled.Holding, error) {
	loader, err := l.shelf.open(l.ctx)
	if err != nil {
		return nil, err
	}
	if l.accept {
		return loader.Get(l.ctx, name)
	}
	return loader.Peek(l.ctx, name)
}

// read makes of a verified bundle what definitions use.
func (l *Load) read(name string, b *bundles.Bundle) (*config.Bundle, error) {
	id, _ := manifest.Identity(name)
	out := &config.Bundle{Name: name, ID: id, Files: files{b, l.shelf.trees}}
	for other, o := range l.opened {
		if o.bundle != nil && o.bundle.ID == id && bundled.TreeID(o.holding.Bundle()) != bundled.TreeID(b) {
			return nil, refusal.New(refusal.Republished, "another release of %q is in use here, asked for as %q: one gateway runs one of them", id, other)
		}
	}
	if t := b.Tyk(); t != nil {
		out.Wiring = t.Wiring
		return out, nil
	}
	plugin, problems := config.ParseBundledPlugin(out, l.lookup)
	if err := problems.Err(); err != nil {
		return nil, refusal.New(refusal.PluginFile, "%w", err)
	}
	out.Plugin = plugin
	return out, nil
}

// Among reports whether there is a bundle of that name among the plugin folders, and no folder that goes before.
func (l *Load) Among(server string) bool {
	if server == "" || strings.ContainsAny(server, `/\`) {
		return false
	}
	base := filepath.Join(l.shelf.o.Plugins, server)
	if info, err := os.Stat(base); err == nil && info.IsDir() && !l.shelf.RequiresSigned() {
		return false
	}
	info, err := os.Stat(base + ".zip")
	return err == nil && !info.IsDir()
}

// Plugins are those of our bundles that were opened, by name.
func (l *Load) Plugins() []*config.Plugin {
	var all []*config.Plugin
	for _, o := range l.opened {
		p := (*config.Plugin)(nil)
		if o.bundle != nil {
			p = o.bundle.Plugin
		}
		if p != nil && !slices.ContainsFunc(all, func(q *config.Plugin) bool { return q.Name == p.Name }) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *config.Plugin) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Serves tells what came of the load: defs are the definitions that were to serve, states by their ids whether each does as
// it says, goes on as before, or does not serve ("serving", "stale", "refused").
func (l *Load) Serves(defs []*config.Definition, states map[string]string) {
	s := l.shelf
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]run{}
	for _, d := range defs {
		if states[d.ID] != "serving" || len(d.Bundles) == 0 {
			continue
		}
		r := run{current: true}
		for _, name := range d.Bundles {
			if o := l.opened[name]; o != nil && o.holding != nil {
				r.bundles = append(r.bundles, o.holding)
			}
		}
		next[d.ID] = r
	}
	for id, r := range s.runs {
		if _, fresh := next[id]; !fresh && states[id] == "stale" {
			r.current = false
			next[id] = r
		}
	}
	s.runs = next
	for name := range s.tried {
		if l.opened[name] == nil {
			delete(s.tried, name)
		}
	}
	s.prune()
}

// prune lets go of what neither serves nor is wanted.
func (s *Shelf) prune() {
	var trees, names []string
	for _, r := range s.runs {
		for _, h := range r.bundles {
			trees, names = append(trees, bundled.TreeID(h.Bundle())), append(names, h.Bundle().Verdict().Name)
		}
	}
	for name := range s.tried {
		names = append(names, name)
	}
	if s.loader == nil {
		return
	}
	if err := s.loader.Forget(names); err != nil {
		s.o.Log.Warn("bundles", "error", err.Error())
	}
	if err := s.trees.Keep(trees); err != nil {
		s.o.Log.Warn("bundles", "error", err.Error())
	}
}

// note remembers what came of opening a bundle.
func (s *Shelf) note(name string, o *opened) {
	a := attempt{err: o.err, stamp: o.stamp}
	s.mu.Lock()
	l := s.loader
	s.mu.Unlock()
	if o.holding != nil {
		a.offer = o.holding.Offer()
	} else if l != nil {
		a.offer = bundled.Offer{Refused: refusal.CodeOf(o.err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried[name] = a
}

// files are those of a verified bundle.
type files struct {
	bundle *bundles.Bundle
	trees  *bundled.Trees
}

// Names lists Tyk's in the order of its manifest, ours by name.
func (f files) Names() []string {
	if t := f.bundle.Tyk(); t != nil {
		return t.FileList
	}
	all := f.bundle.Files()
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.Path
	}
	return names
}

func (f files) Read(name string) ([]byte, error) { return f.bundle.ReadFile(name) }

func (f files) Folder() (string, error) {
	dir, err := f.trees.Open(f.bundle)
	if err != nil {
		return "", fmt.Errorf("bundle %q: %w", f.bundle.Verdict().Name, err)
	}
	return dir, nil
}
