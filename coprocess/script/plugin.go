package script

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Plugin is what a runtime opens a script as, whatever its language. It is read only once handed over.
type Plugin struct {
	Name     string // as logs and errors name it
	Main     []Source
	Files    *Files // what require may read; nil: nothing
	Limits   Limits
	Services Services
	// Watch bounds its calls; the process's one.
	Watch *Watch
	// Fresh gives each call an interpreter of its own ("isolate: call").
	Fresh bool
	// Counters are counted up as calls end; nil for nowhere.
	Counters *Counters
}

// FromFolder completes a plugin by its folder: the file with its hooks, and what require may read, which the caller closes.
func (p Plugin) FromFolder(dir, main string) (Plugin, error) {
	files, err := OpenFiles(dir, p.Limits.Complete().Source)
	if err != nil {
		return Plugin{}, fmt.Errorf("plugin %q: %w", p.Name, err)
	}
	source, err := files.Read(main)
	if err != nil {
		return Plugin{}, errors.Join(fmt.Errorf("plugin %q: %w", p.Name, err), files.Close())
	}
	p.Main, p.Files = []Source{source}, files
	return p, nil
}

// Counters are what has happened to a plugin since it was made. They are safe for concurrent use.
type Counters struct {
	Calls       atomic.Int64 // of hooks, handlers and observers
	Errors      atomic.Int64 // calls that failed, offences included
	Timeouts    atomic.Int64
	Oversized   atomic.Int64 // memory, size and depth
	Discarded   atomic.Int64 // interpreters thrown away
	Made        atomic.Int64 // interpreters made
	Quarantines atomic.Int64 // times it went into quarantine
	Refused     atomic.Int64 // calls that were not made, being in quarantine
}
