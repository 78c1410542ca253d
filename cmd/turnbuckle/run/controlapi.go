package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/definitions"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// groupReload is where the store has the mark of the last reload that was asked of all its gateways.
const groupReload = "reload/group"

// groupTimeout bounds asking for that mark.
const groupTimeout = 5 * time.Second

// stateOptions opens the state, and gives the control API what stands on it.
func (g *gateway) stateOptions(gen *generation, o *admin.Options) error {
	callers, err := gen.state.Callers()
	if err != nil {
		return err
	}
	s := &admin.State{Keys: callers.Keys}
	if s.Store, err = gen.state.Store(); err != nil {
		return err
	}
	if s.Policies, err = gen.state.Policies(); err != nil {
		return err
	}
	if s.Limiter, err = gen.state.Limiter(); err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	o.State, o.KeySettings, o.RefreshKeySets = s, gen.s.Keys, callers.Sets.Refresh
	o.ReloadGroup = func(ctx context.Context) error {
		return s.Store.Apply(ctx, store.Write{Key: groupReload, Entry: store.Entry{Value: []byte(keyid.Random())}})
	}
	manifests, err := g.builtins.Manifests()
	if err != nil {
		return err
	}
	lookup := settings.LookupIn(g.o.Source.Environ)
	look := shelf.NewLooking(g.ctx, gen.shelf(), lookup)
	o.Bundles = g.bundlesOf(gen)
	o.Folder = folder.New(folder.Options{
		Dir: gen.s.APIs,
		Check: func(ctx context.Context, def *config.Definition) config.Problems {
			return gen.checkDefinition(ctx, g.builtins, def, look)
		},
		Loader: config.Loader{
			Classic: definitions.Translator(gen.s, look), WorkDir: dir, LookupEnv: lookup, SecretDirs: gen.s.SecretDirs, Bundles: look, Builtins: manifests, Use: gen.s.Use,
		},
	})
	o.Definitions = func() []*config.Definition {
		if d := gen.loaded.Load(); d != nil {
			return d.Set.Definitions
		}
		return nil
	}
	return nil
}

// checkDefinition says why a definition would be refused, beside what serves now.
func (gen *generation) checkDefinition(ctx context.Context, ready *builtin.Builtins, def *config.Definition, look shelf.Looking) config.Problems {
	alone := &definitions.All{Set: config.Set{Definitions: []*config.Definition{def}}}
	if now := gen.loaded.Load(); now != nil {
		alone.Plugins = slices.Clone(now.Plugins)
	}
	alone.AddBundled(look.PluginsOf(def))
	alone.Servers, _ = config.Servers(gen.s, alone.Plugins)
	bad := def.CheckHooks(alone.Servers, alone.Plugins)
	if gen.s.Bundles.RequireSigned {
		bad = append(bad, def.Unsigned()...)
	}
	if bad.Refused() {
		return bad
	}
	return definitions.Compile(ctx, gen.s, ready, alone)
}

// groupMark is what the store has of the last reload that was asked of the group; not known while it does not say.
type groupMark struct {
	value string
	known bool
}

// groupSeen reads the mark of the store that is in use when there is a control listener.
func (g *gateway) groupSeen(ctx context.Context) groupMark {
	if g.admin == nil {
		return groupMark{}
	}
	s, err := g.now.Load().state.Store()
	if err != nil {
		return groupMark{}
	}
	return g.readMark(ctx, s)
}

// followGroup reloads when any gateway of the store was asked to have all of them reload, until ctx ends. What was asked
// before seen was read has been done.
func (g *gateway) followGroup(ctx context.Context, seen groupMark) error {
	for ctx.Err() == nil {
		turned := g.changed.next()
		s, err := g.now.Load().state.Store()
		if errors.Is(err, store.ErrClosed) {
			continue // another generation has just begun to serve
		}
		if err != nil {
			return err
		}
		g.followStore(ctx, s, turned, seen)
		seen = g.groupSeen(ctx) // of another store
	}
	return nil
}

// followStore does so with one store, until another generation serves.
func (g *gateway) followStore(ctx context.Context, s store.Store, turned <-chan struct{}, last groupMark) {
	told := make(chan struct{}, 1)
	told <- struct{}{} // the mark may be another already
	stop := s.Watch(func(c store.Change) {
		if c.All || slices.Contains(c.Keys, groupReload) {
			select {
			case told <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turned:
			next := g.changed.next()
			if on, err := g.now.Load().state.Store(); err != nil || on != s {
				return
			}
			turned = next
			continue
		case <-told:
		}
		mark := g.readMark(ctx, s)
		if !mark.known {
			continue // the store tells again when it is back
		}
		if mark != last {
			_ = g.reload(ctx) // the worker has logged it
		}
		last = mark
	}
}

func (g *gateway) readMark(ctx context.Context, s store.Reader) groupMark {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	e, err := s.Get(ctx, groupReload)
	if errors.Is(err, store.ErrNotFound) {
		return groupMark{known: true}
	}
	return groupMark{string(e.Value), err == nil}
}
