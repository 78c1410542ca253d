package outside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/python"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/storehttp"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	pythonsdk "github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

// pythons are the interpreters that have been found to do. They are asked once.
type pythons struct {
	mu    sync.Mutex
	found map[config.PythonSettings]*python.Interpreter
}

// find returns the interpreter by the settings. Whoever else wants one waits meanwhile: it is the same, mostly.
func (p *pythons) find(ctx context.Context, shim *python.Shim, c *config.PythonSettings) (*python.Interpreter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := config.PythonSettings{Interpreter: c.Interpreter, Dir: c.Dir}
	if i := p.found[key]; i != nil {
		return i, nil
	}
	i, err := shim.Find(ctx, c.Interpreter)
	if err != nil {
		return nil, err
	}
	if p.found == nil {
		p.found = map[config.PythonSettings]*python.Interpreter{}
	}
	p.found[key] = i
	return i, nil
}

// startedPython is a plugin in Python, with the store that it is lent.
type startedPython struct {
	*python.Server
	loan *storehttp.Loan
}

// Close ends the processes, and then the loan.
func (s *startedPython) Close() error { return errors.Join(s.Server.Close(), s.loan.Close()) }

// event publishes what a plugin has to say.
func (s *Servers) event(plugin, kind, message string) error {
	s.Publish(sdk.Event{Time: time.Now(), Type: kind, Message: message, Meta: map[string]string{"Plugin": plugin}})
	return nil
}

// startPython begins to start a plugin in Python.
func (s *Servers) startPython(ctx context.Context, name string, c *config.PluginServer) (*startedPython, error) {
	p := c.Start.Python
	modules, err := pythonsdk.Modules()
	if err != nil {
		return nil, err
	}
	shim, err := python.Unpack(modules, p.Settings.Dir)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", name, err)
	}
	o := python.Options{
		Shim: shim, Folder: p.Folder, Tyk: p.Tyk,
		Workers: p.Settings.Workers, Threads: p.Settings.Threads, Install: p.Settings.Install,
		Interpreter: func(ctx context.Context) (*python.Interpreter, error) { return s.pythons.find(ctx, shim, &p.Settings) },
	}
	if o.Process, err = processOptions(name, c); err != nil {
		return nil, err
	}
	if o.Process.StartTimeout == config.DefaultStart().StartTimeout {
		o.Process.StartTimeout = 0 // interpreters and imports take their time: the runtime's own default
	}
	if p.Tyk {
		o.Files = p.Files
	} else if len(p.Files) > 0 {
		o.Main = p.Files[0]
	}
	o.Process.RPC.Host, o.Process.Log = s.host(), s.log.With("plugin_server", name)
	uid, err := o.Process.UID()
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", name, err)
	}
	lender := storehttp.New(storehttp.Options{Dir: c.Start.RunDir, Open: s.Storage, Event: s.event, Log: s.log})
	loan, err := lender.Lend(ctx, storehttp.Borrower{Plugin: name, Entries: scripts.Entries(name, p.Org, p.Tyk), UID: uid})
	if err != nil {
		return nil, err
	}
	o.Process.Env = append(o.Process.Env, loan.Env()...)
	o.Process.Remains = append(o.Process.Remains, loan.Dir())
	opened, err := python.Open(ctx, o)
	if err != nil {
		return nil, errors.Join(err, loan.Close())
	}
	return &startedPython{opened, loan}, nil
}
