package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"sync"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// An API is what scripts are written against. Its functions are called once for each interpreter.
type API interface {
	// Install makes the API's globals, before the plugin's files are run.
	Install(vm *VM) error
	// Loaded is called after that, and says whether the plugin is as the API wants it.
	Loaded(vm *VM) error
}

// Options of an engine.
type Options struct {
	API API
	// Modules has the plugin's files run as modules, with exports and require, not in the global scope.
	Modules bool
}

// Engine runs one plugin. It is safe for concurrent use.
type Engine struct {
	plugin     *script.Plugin
	limits     script.Limits
	options    Options
	programs   []*goja.Program
	pool       *script.Pool[*VM]
	quarantine *script.Quarantine
	counters   *script.Counters
	log        *slog.Logger
	ctx        context.Context // ends with Close: calls under way end too
	end        context.CancelFunc

	mu      sync.Mutex
	modules map[string]*goja.Program // by path, of what was required
	read    int64                    // bytes of sources so far
}

// New compiles the plugin's files and makes a first interpreter, in which they are run. Its errors name file and line.
// ctx bounds that, and of it the values are kept.
func New(ctx context.Context, p *script.Plugin, o Options) (*Engine, error) {
	e := &Engine{plugin: p, limits: p.Limits.Complete(), options: o, counters: p.Counters, log: p.Services.Log, modules: map[string]*goja.Program{}}
	if e.counters == nil {
		e.counters = &script.Counters{}
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	for _, s := range p.Main {
		if e.read += int64(len(s.Text)); e.read > e.limits.Source {
			return nil, fmt.Errorf("plugin %q: its files have more than %d bytes", p.Name, e.limits.Source)
		}
		compiled := compileScript
		if o.Modules {
			compiled = compileModule
		}
		program, err := compiled(s)
		if err != nil {
			return nil, e.named(err)
		}
		e.programs = append(e.programs, program)
	}
	e.quarantine = script.NewQuarantine(&e.limits, nil)
	e.pool = script.NewPool(&e.limits, func() (*VM, error) { return e.newVM(e.ctx) })
	e.ctx, e.end = context.WithCancel(context.WithoutCancel(ctx))
	first, err := e.pool.Get(ctx)
	if err != nil {
		e.end()
		return nil, err
	}
	e.pool.Put(first)
	return e, nil
}

// Limits are the plugin's, complete.
func (e *Engine) Limits() *script.Limits { return &e.limits }

// Plugin is what the engine was made of.
func (e *Engine) Plugin() *script.Plugin { return e.plugin }

// Held reports whether the plugin is in quarantine.
func (e *Engine) Held() bool { return e.quarantine.Held() }

// Idle returns how many interpreters wait to be used.
func (e *Engine) Idle() int { return e.pool.Idle() }

// Close ends the calls that are under way and waits for them.
func (e *Engine) Close() {
	e.end()
	e.pool.Close()
}

// Call has f use an interpreter. by is the request header of the exchange that the call is for; nil for none. What f
// returns of the script's errors becomes a [*script.Error]; any other error is returned as it is.
func (e *Engine) Call(ctx context.Context, by *sdk.Header, f func(vm *VM) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.ctx.Err() != nil {
		return fmt.Errorf("%w: closed", sdk.ErrUnavailable)
	}
	e.counters.Calls.Add(1)
	trial, err := e.quarantine.Enter()
	if err != nil {
		e.counters.Refused.Add(1)
		return err
	}
	err = e.call(ctx, by, f)
	if err != nil {
		e.failed(err)
	}
	if held := e.quarantine.Leave(trial, err); held > 0 {
		e.counters.Quarantines.Add(1)
		e.log.Error("plugin in quarantine", "plugin", e.plugin.Name, "for", held, "error", err)
	}
	return err
}

func (e *Engine) failed(err error) {
	e.counters.Errors.Add(1)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.counters.Timeouts.Add(1)
	case script.Offence(err):
		e.counters.Oversized.Add(1)
	}
}

func (e *Engine) call(ctx context.Context, by *sdk.Header, f func(vm *VM) error) error {
	vm, err := e.pool.Get(ctx)
	if err != nil {
		return err
	}
	err, fit := vm.run(ctx, by, f)
	if fit && !e.plugin.Fresh {
		e.pool.Put(vm)
		return err
	}
	if !fit {
		e.counters.Discarded.Add(1)
	}
	e.pool.Discard()
	return err
}

// required compiles a file that a script asks for, once. from is the path of the file that asks.
func (e *Engine) required(from, name string) (string, *goja.Program, error) {
	if e.plugin.Files == nil {
		return "", nil, fmt.Errorf("require %q: this plugin has no folder", name)
	}
	if !strings.HasPrefix(name, "./") && !strings.HasPrefix(name, "../") {
		return "", nil, fmt.Errorf("require %q: only files of the plugin's own folder: begin with ./", name)
	}
	at := path.Join(path.Dir(from), name)
	for _, candidate := range []string{at, at + ".js", at + ".json", path.Join(at, "index.js")} {
		if e.plugin.Files.Exists(candidate) {
			at = candidate
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, ok := e.modules[at]; ok {
		return at, p, nil
	}
	source, err := e.plugin.Files.Read(at)
	if err != nil {
		return "", nil, fmt.Errorf("require %q: %w", name, err)
	}
	if e.read += int64(len(source.Text)); e.read > e.limits.Source {
		return "", nil, fmt.Errorf("require %q: the plugin's files have more than %d bytes", name, e.limits.Source)
	}
	if path.Ext(at) == ".json" {
		source.Text = "module.exports = " + source.Text
	}
	p, err := compileModule(source)
	if err != nil {
		return "", nil, fmt.Errorf("require %q: %w", name, e.named(err))
	}
	e.modules[at] = p
	return at, p, nil
}

// named says of which plugin an error of compiling is.
func (e *Engine) named(err error) error {
	if se := (*script.Error)(nil); errors.As(err, &se) {
		se.Plugin = e.plugin.Name
		return err
	}
	return fmt.Errorf("plugin %q: %w", e.plugin.Name, err)
}

// Clamp makes a value a number from low to high; low when it is none.
func Clamp(v goja.Value, low, high float64) float64 {
	f := v.ToFloat()
	if math.IsNaN(f) {
		return low
	}
	return max(low, min(f, high))
}

// Library compiles a library that is a module, to be run in interpreters.
func Library(s script.Source) (*goja.Program, error) { return compileModule(s) }
