// Package scripts opens the plugins that run inside the gateway, and gives them what they may use of it.
package scripts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Scripts owns the scripts that are open. Routes share them, over a reload too, as long as nothing of them has changed. It
// is safe for concurrent use. Whoever starts the process calls [js.BoundPatterns] before.
type Scripts struct {
	log   *slog.Logger
	watch *script.Watch

	open share.Keyed[key, *owned]

	mu       sync.Mutex
	counters map[string]*script.Counters // by plugin, for good: a counter never falls
}

// key is what makes two scripts one.
type key struct {
	room *Room
	name string
	made [sha256.Size]byte // of everything that it is made of
}

// server is a runtime's.
type server interface {
	coprocess.Server
	Quarantined() bool
}

// New returns none, and begins to watch over their calls.
func New(log *slog.Logger) *Scripts {
	return &Scripts{log: log, watch: script.NewWatch(), counters: map[string]*script.Counters{}}
}

// Close ends the watch over calls. Every script has been given back.
func (s *Scripts) Close() { s.watch.Close() }

// Owner is whose a script is: a definition, or a plugin's folder.
type Owner struct {
	// Name is the plugin's in logs, metrics and errors, and what it keeps its entries in the store by.
	Name string
	Org  string
	// Lifetime is of the keys that its scripts make.
	Lifetime identity.Lifetime
}

// Get opens a script, or returns the one that is open. Each is given back by its Close. What is wrong with the script is the
// error, with file and line.
func (s *Scripts) Get(ctx context.Context, room *Room, owner Owner, c *config.Script) (host.Server, error) {
	made, err := digest(room, owner, c)
	if err != nil {
		return nil, err
	}
	l, err := s.open.Get(key{room, owner.Name, made}, func() (*owned, error) { return s.start(ctx, room, owner, c) })
	if err != nil {
		return nil, err
	}
	return &lease{l.Value, l}, nil
}

// count returns the counters of a plugin.
func (s *Scripts) count(name string) *script.Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counters[name] == nil {
		s.counters[name] = &script.Counters{}
	}
	return s.counters[name]
}

// digest is over all that a script is made of: its own texts, the files that it may require, and its bounds.
func digest(room *Room, owner Owner, c *config.Script) ([sha256.Size]byte, error) {
	all, err := json.Marshal([]any{owner, c, modules(c.Modules, c.Language), room.settings})
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("script %s: %w", owner.Name, err)
	}
	return sha256.Sum256(all), nil
}

// start opens a script.
func (s *Scripts) start(ctx context.Context, room *Room, owner Owner, c *config.Script) (*owned, error) {
	p := script.Plugin{
		Name: owner.Name, Limits: room.limits(), Services: room.services(owner, c, s.log), Watch: s.watch,
		Fresh: c.Isolate == config.IsolateCall, Counters: s.count(owner.Name),
	}
	for _, source := range c.Sources {
		p.Main = append(p.Main, script.Source{Name: source.Name, Text: source.Text})
	}
	if c.Files != nil {
		p.Files = script.MemoryFiles(c.Files, p.Limits.Complete().Source)
	} else if c.Modules != "" && !isApart(room, c) {
		files, err := script.OpenFiles(c.Modules, p.Limits.Complete().Source)
		if err != nil {
			return nil, err
		}
		p.Files = files
	}
	opened, err := s.run(ctx, p, room, c)
	if err != nil && p.Files != nil {
		err = errors.Join(err, p.Files.Close())
	}
	if err != nil {
		return nil, err
	}
	return &owned{opened, p.Files, c.Language}, nil
}

func (s *Scripts) run(ctx context.Context, p script.Plugin, room *Room, c *config.Script) (server, error) {
	if isApart(room, c) {
		return s.apart(ctx, &p, room, c)
	}
	if c.Language == config.Lua {
		o := lua.Options{Tyk: c.Tyk}
		for _, library := range room.settings.Allow {
			o.Allow = append(o.Allow, interp.Library(library))
		}
		return lua.Open(ctx, p, o)
	}
	o := js.Options{Tyk: c.Tyk, Sessions: map[string]bool{}}
	for _, name := range c.WithSession {
		o.Sessions[name] = true
	}
	return js.Open(ctx, p, o)
}

// owned is a server with the folder that its script requires files of.
type owned struct {
	server
	files    *script.Files // nil: none
	language config.Language
}

func (o *owned) Close() error {
	err := o.server.Close()
	if o.files != nil {
		err = errors.Join(err, o.files.Close())
	}
	return err
}

// Virtual is a function of Tyk's JavaScript as a virtual endpoint.
func (o *owned) Virtual(function string, withSession bool) sdk.Hook {
	if s, ok := o.server.(*js.Server); ok {
		return s.Virtual(function, withSession)
	}
	return sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return sdk.ErrUnimplemented })
}

// lease is one route's use of a script.
type lease struct {
	*owned
	lease *share.Lease[key, *owned]
}

// Close gives the script back; the last lease closes it.
func (l *lease) Close() error { return l.lease.Close() }

// Identity says which script it is a lease of (see [host.Server]).
func (l *lease) Identity() any { return l.lease.Identity() }

// Settle waits until a script that runs in a process of its own takes calls, or is known not to.
func (o *owned) Settle(ctx context.Context) {
	if s, ok := o.server.(*apart); ok {
		s.Settle(ctx)
	}
}

// Status is a script as the control listener shows it.
type Status struct {
	Name        string `json:"name"`
	Language    string `json:"language"`
	Routes      int    `json:"routes"`
	Quarantined bool   `json:"quarantined"`
	Calls       int64  `json:"calls"`
	Errors      int64  `json:"errors"`
	Timeouts    int64  `json:"timeouts"`
	Oversized   int64  `json:"oversized"`
	Refused     int64  `json:"refused"`
	Discarded   int64  `json:"interpreters_discarded"`
	Made        int64  `json:"interpreters_made"`
}

// Status lists the scripts that are open, by name.
func (s *Scripts) Status() []Status {
	list := []Status{}
	s.open.Each(func(k key, o *owned, users int) {
		c := s.count(k.name)
		list = append(list, Status{
			Name: k.name, Language: string(o.language), Routes: users, Quarantined: o.Quarantined(), Calls: c.Calls.Load(), Errors: c.Errors.Load(),
			Timeouts: c.Timeouts.Load(), Oversized: c.Oversized.Load(), Refused: c.Refused.Load(), Discarded: c.Discarded.Load(), Made: c.Made.Load(),
		})
	})
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// List is what metrics say of scripts.
func (s *Scripts) List() []observe.Script {
	held := map[string]bool{}
	s.open.Each(func(k key, o *owned, _ int) { held[k.name] = held[k.name] || o.Quarantined() })
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []observe.Script
	for name, c := range s.counters {
		list = append(list, observe.Script{
			Name: name, Quarantined: held[name], Calls: c.Calls.Load(), Errors: c.Errors.Load(), Timeouts: c.Timeouts.Load(),
			Oversized: c.Oversized.Load(), Quarantines: c.Quarantines.Load(), Refused: c.Refused.Load(), Discarded: c.Discarded.Load(), Made: c.Made.Load(),
		})
	}
	return list
}
