package run

import (
	"fmt"
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// definitions reads everything the settings name: definitions, plugin folders, servers.
type definitions struct {
	set      config.Set
	plugins  []*config.Plugin
	servers  map[string]config.PluginServer
	problems config.Problems
	unread   error // why the folder of definitions could not be read
}

// loadDefinitions reads the folders. A definition that names what is not there is refused like one that is broken. The
// error says why the folder of definitions cannot be read at all; the rest is returned beside it.
func loadDefinitions(s *config.Settings, ready *builtin.Builtins, environ []string) (*definitions, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("working directory: %w", err)
	}
	lookup := settings.LookupIn(environ)
	manifests, err := ready.Manifests()
	if err != nil {
		return nil, err
	}
	d := &definitions{}
	if _, err := os.Stat(s.Plugins); err == nil {
		d.plugins, d.problems = config.LoadPlugins(s.Plugins, lookup)
	}
	servers, problems := config.Servers(s, d.plugins)
	d.servers, d.problems = servers, append(d.problems, problems...)
	loader := config.Loader{Classic: translator(s), WorkDir: dir, LookupEnv: lookup, SecretDirs: s.SecretDirs, Builtins: manifests}
	set, problems := loader.LoadDir(s.APIs)
	if len(set.Definitions)+len(set.Refused) == 0 && problems.Refused() {
		d.unread = problems.Err()
		return d, d.unread // the folder itself cannot be read
	}
	d.problems = append(d.problems, problems...)
	d.set.Refused = set.Refused
	for _, def := range set.Definitions {
		bad := def.CheckHooks(servers, d.plugins)
		d.problems = append(d.problems, bad...)
		if bad.Refused() {
			d.set.Refused = append(d.set.Refused, config.Refused{
				File:     def.Source.File,
				Identity: config.Identity{ID: def.ID, ListenPath: def.Listen.Path, Host: def.Listen.Host},
				Problems: bad,
			})
			continue
		}
		d.set.Definitions = append(d.set.Definitions, def)
	}
	config.AddPythonServers(d.servers, s, d.set.Definitions)
	return d, nil
}

// translator is of classic definitions.
func translator(s *config.Settings) *tyk.Translator {
	c := &s.Scripts
	return tyk.New(tyk.Options{Middleware: c.Middleware, Prelude: c.Prelude, NoVirtualText: !c.VirtualText})
}
