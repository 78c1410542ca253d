// Package definitions reads what a gateway is to serve: definitions, plugin folders, bundles and servers; and checks it without
// serving.
package definitions

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// All is everything the settings name: definitions, the plugins of folders and bundles, servers.
type All struct {
	Set      config.Set
	Plugins  []*config.Plugin
	Servers  map[string]config.PluginServer
	Problems config.Problems
	Unread   error       // why the folder of definitions could not be read
	Bundles  *shelf.Load // which the definitions named
}

// SameOutside reports whether plugins and servers are what they were: then unchanged definitions keep their routes.
func (d *All) SameOutside(before *All) bool {
	return reflect.DeepEqual(d.Servers, before.Servers) && reflect.DeepEqual(d.Plugins, before.Plugins)
}

// Read reads the folders, and the bundles that definitions name. A definition that names what is not there is refused like one that is broken. The
// error says why the folder of definitions cannot be read at all; the rest is returned beside it.
func Read(s *config.Settings, ready *builtin.Builtins, environ []string, load *shelf.Load) (*All, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	lookup := settings.LookupIn(environ)
	manifests, err := ready.Manifests()
	if err != nil {
		return nil, err
	}
	d := &All{Bundles: load}
	if _, err := os.Stat(s.Plugins); err == nil && !s.Bundles.RequireSigned {
		d.Plugins, d.Problems = config.LoadPlugins(s.Plugins, lookup)
	}
	loader := config.Loader{Classic: Translator(s, load), WorkDir: dir, LookupEnv: lookup, SecretDirs: s.SecretDirs, Bundles: load, Builtins: manifests, Use: s.Use}
	set, bad := loader.LoadDir(s.APIs)
	d.AddBundled(load.Plugins())
	servers, problems := config.Servers(s, d.Plugins)
	d.Servers, d.Problems = servers, append(d.Problems, problems...)
	if s.Bundles.RequireSigned {
		d.signedOnly(s)
	}
	problems = bad
	if len(set.Definitions)+len(set.Refused) == 0 && problems.Refused() {
		d.Unread = problems.Err()
		return d, d.Unread // the folder itself cannot be read
	}
	d.Problems = append(d.Problems, problems...)
	d.Set.Refused = set.Refused
	for _, def := range set.Definitions {
		bad := def.CheckHooks(servers, d.Plugins)
		if s.Bundles.RequireSigned {
			bad = append(bad, def.Unsigned()...)
		}
		d.Problems = append(d.Problems, bad...)
		if bad.Refused() {
			d.Set.Refused = append(d.Set.Refused, config.Refused{
				File:     def.Source.File,
				Identity: config.Identity{ID: def.ID, ListenPath: def.Listen.Path, Host: def.Listen.Host},
				Problems: bad,
			})
			continue
		}
		d.Set.Definitions = append(d.Set.Definitions, def)
	}
	config.AddPythonServers(d.Servers, s, d.Set.Definitions)
	return d, nil
}

// AddBundled adds the plugins that came in bundles. A name is one plugin's: a folder of the same one is not used.
func (d *All) AddBundled(plugins []*config.Plugin) {
	for _, p := range plugins {
		i := slices.IndexFunc(d.Plugins, func(q *config.Plugin) bool { return q.Name == p.Name })
		if i < 0 {
			d.Plugins = append(d.Plugins, p)
			continue
		}
		d.Problems = append(d.Problems, config.Problem{
			File: d.Plugins[i].Dir, Severity: config.SeverityWarning,
			Message: fmt.Sprintf("the folder is not used: the definitions name the bundle %q, which has a plugin of that name", p.Bundle),
		})
		d.Plugins[i] = p
	}
}

// signedOnly takes away the servers that the gateway would start by itself, but those of bundles.
func (d *All) signedOnly(s *config.Settings) {
	for name, server := range s.Servers {
		if len(server.Start.Command) == 0 {
			continue
		}
		delete(d.Servers, name)
		d.Problems = append(d.Problems, config.Problem{
			Path: "$.servers." + name + ".command", Severity: config.SeverityError,
			Message: "not started: bundles.require_signed wants all code to be signed", Hint: "pack it with turnbuckle bundle build, and name the bundle",
		})
	}
}

// Translator is of classic definitions.
func Translator(s *config.Settings, bundles config.Bundles) *tyk.Translator {
	c := &s.Scripts
	return tyk.New(tyk.Options{Middleware: c.Middleware, Prelude: c.Prelude, NoVirtualText: !c.VirtualText, Bundles: bundles})
}
