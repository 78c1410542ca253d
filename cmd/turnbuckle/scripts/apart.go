package scripts

import (
	"context"
	"errors"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/isolate"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/storehttp"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// apart is a script in a process of its own, with the store that it is lent.
type apart struct {
	*isolate.Server
	loan *storehttp.Loan
}

// Close ends the process, and then the loan.
func (a *apart) Close() error { return errors.Join(a.Server.Close(), a.loan.Close()) }

// isApart reports whether a script runs in a process of its own. One that is only looked at does not.
func isApart(room *Room, c *config.Script) bool {
	return c.Isolate == config.IsolateProcess && room.state != nil
}

// maxProcesses is how many processes a script may have: it starts none.
const maxProcesses = 16

// apart starts a script's process.
func (s *Scripts) apart(ctx context.Context, p *script.Plugin, room *Room, c *config.Script) (server, error) {
	spec := &isolate.Spec{
		Name: p.Name, Language: string(c.Language), Main: p.Main, Dir: c.Modules, Allow: room.settings.Allow, Limits: p.Limits,
	}
	f := &room.settings.Fetch
	spec.HTTP.Limits, spec.HTTP.Insecure = script.HTTPLimits{Timeout: f.Timeout, Body: int64(f.Body), Hops: f.Hops}, f.Insecure
	o := process.Options{
		RunDir: room.runDir, Log: s.log.With("plugin_server", p.Name),
		Limits: keeper.Limits{Memory: int64(room.settings.Memory), Processes: maxProcesses},
	}
	lender := storehttp.New(storehttp.Options{
		Dir: room.runDir, Log: s.log, Open: func() (script.Storage, error) { return room.state.Store() },
	})
	loan, err := lender.Lend(ctx, storehttp.Borrower{Plugin: p.Name, Entries: p.Name, UID: -1})
	if err != nil {
		return nil, err
	}
	o.Env, o.Remains = loan.Env(), []string{loan.Dir()}
	opened, err := isolate.Open(ctx, o, spec, p.Counters)
	if err != nil {
		return nil, errors.Join(err, loan.Close())
	}
	return &apart{opened, loan}, nil
}
