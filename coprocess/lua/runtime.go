// Package lua is the runtime for scripts in Lua, inside the gateway: gopher-lua, in pools of states per plugin.
//
// Two kinds of scripts run: those written against our own interface (coprocess/script/API.md), whose hooks are functions
// of the table exports, and those written for Tyk (package tyk below), whose hooks are global functions. Both have the
// same libraries; see package interp for what bounds a script and for what differs from Lua 5.1, and package script for
// what only a process of its own bounds.
//
// # What one call leaves for the next
//
// Files are compiled once and run once for each state; a state serves one call after the other. Globals that a call
// defines or rebinds are gone after it, and so are modules that were first required during a call. What a call changes
// inside tables and local variables of the files stays in that one state: a cache at best. A plugin opened with Fresh has
// a new state for each call instead. A state that went over a bound is thrown away, and so is one that is old.
package lua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// Options are what is Lua's own of a plugin.
type Options struct {
	// Tyk says that hooks are global functions as Tyk calls them.
	Tyk bool
	// Allow are the unsafe libraries that its scripts may use.
	Allow []interp.Library
}

// Runtime opens the scripts of plugin folders. It is safe for concurrent use.
type Runtime struct {
	Options Options
	// Main is the file that has the hooks, relative to the folder: "main.lua" by default.
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
	}.FromFolder(p.Dir, cmp.Or(r.Main, "main.lua"))
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

// Sources reads the files of a bundle that are Lua, in the order of its list; others are passed over.
func Sources(files *script.Files, list []string) ([]script.Source, error) {
	return files.Sources(list, ".lua")
}

// programs are a plugin's files, each compiled once.
type programs struct {
	files *script.Files
	left  int64 // bytes of source that may still be read

	mu   sync.Mutex
	byID map[string]*interp.Program
}

// require finds the file that a script asks for: "lib.names" and "./lib/names" alike are lib/names.lua, or
// lib/names/init.lua.
func (p *programs) require(name string) (*interp.Program, error) {
	if p.files == nil {
		return nil, fmt.Errorf("module '%s' not found: this script has no folder of its own", name)
	}
	for _, candidate := range candidates(name) {
		if p.files.Exists(candidate) {
			return p.file(candidate)
		}
	}
	return nil, fmt.Errorf("module '%s' not found in %s: want one of %s", name, p.files.Dir(), strings.Join(candidates(name), ", "))
}

func candidates(name string) []string {
	file := strings.TrimSuffix(name, ".lua")
	if !strings.Contains(name, "/") && file == name {
		file = strings.ReplaceAll(name, ".", "/")
	}
	all := []string{file + ".lua", file + "/init.lua"}
	return slices.DeleteFunc(all, func(c string) bool { return path.IsAbs(c) || strings.HasPrefix(path.Clean(c), "../") })
}

func (p *programs) file(name string) (*interp.Program, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.byID[name]; ok {
		return known, nil
	}
	source, err := p.files.Read(name)
	if err != nil {
		return nil, err
	}
	if p.left -= int64(len(source.Text)); p.left < 0 {
		return nil, errors.New("the plugin's files together are larger than its limit of source")
	}
	program, err := interp.Compile(source.Name, source.Text)
	if err != nil {
		return nil, err
	}
	p.byID[name] = program
	return program, nil
}
