// Package js is the runtime for scripts in JavaScript, inside the gateway: goja, in pools of interpreters per plugin.
//
// Two kinds of scripts run: those written against our own interface (coprocess/script/API.md, package modern), which are
// modules whose exports are hooks, and those written for Tyk (package tykapi), which make global objects. What bounds
// both, and what does not, package engine says. The order of localeCompare is that of package collate, in every build.
//
// # What one call leaves for the next
//
// Files are compiled once and run once for each interpreter, which serves one call after the other. The built-ins are
// frozen once the files have run. Globals that a call creates or rebinds are as before after it. What a call changes
// inside objects and local variables of the files stays in that one interpreter: a cache at best. A plugin opened with
// Fresh has a new interpreter for each call instead. One that went over a bound is thrown away.
package js

import (
	"cmp"
	"context"
	"errors"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// BoundPatterns gives regular expressions of all scripts a time limit. It is a setting of the process, so whoever starts
// that calls this once, before any script is opened; [Open] is an error before.
func BoundPatterns() { engine.BoundPatterns() }

// Options are what is JavaScript's own of a plugin.
type Options struct {
	// Tyk says that the scripts are written for Tyk.
	Tyk bool
	// Sessions are the names of those of Tyk's middlewares whose entries have require_session.
	Sessions map[string]bool
}

// Runtime opens the scripts of plugin folders. It is safe for concurrent use.
type Runtime struct {
	Options Options
	// Main is the file that has the hooks, relative to the folder: "main.js" by default.
	Main string
	// Limits, Services, Watch and Fresh are those of the plugins it opens; see [script.Plugin]. Watch is required.
	Limits   script.Limits
	Services script.Services
	Watch    *script.Watch
	Fresh    bool
}

var _ coprocess.Runtime = (*Runtime)(nil)

// Open implements [coprocess.Runtime]. A script that does not compile, or fails while it is loaded, is an error.
func (r *Runtime) Open(ctx context.Context, p coprocess.Plugin) (coprocess.Server, error) {
	plugin, err := script.Plugin{
		Name: p.Name, Limits: r.Limits, Services: r.Services, Watch: r.Watch, Fresh: r.Fresh,
	}.FromFolder(p.Dir, cmp.Or(r.Main, "main.js"))
	if err != nil {
		return nil, err
	}
	s, err := Open(ctx, plugin, r.Options)
	if err != nil {
		return nil, errors.Join(err, plugin.Files.Close())
	}
	s.files = plugin.Files
	return s, nil
}

// Sources reads the files of a bundle that are JavaScript, in the order of its list; others are passed over.
func Sources(files *script.Files, list []string) ([]script.Source, error) {
	return files.Sources(list, ".js")
}
