package outside

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/output"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// start begins to start a plugin server.
func (s *Servers) start(ctx context.Context, name string, c *config.PluginServer) (*process.Server, error) {
	o, err := processOptions(name, c)
	if err != nil {
		return nil, err
	}
	o.RPC.Host, o.Log = s.host(), s.log.With("plugin_server", name)
	return process.Open(ctx, o)
}

// CheckStart says what can be seen to be wrong with a plugin server that the gateway is to start, without starting it.
func CheckStart(name string, c *config.PluginServer) error {
	if len(c.Start.Command) == 0 {
		return nil
	}
	o, err := processOptions(name, c)
	if err != nil {
		return err
	}
	return o.Check()
}

// processOptions are what the settings say of how a plugin server is started.
func processOptions(name string, c *config.PluginServer) (process.Options, error) {
	p := &c.Start
	o := process.Options{
		Name: name, Command: p.Command, Dir: p.Dir, PassEnv: p.PassEnv, User: p.User, RunDir: p.RunDir,
		Limits:    keeper.Limits{Memory: int64(p.Limits.Memory), Files: p.Limits.Files, Processes: p.Limits.Processes},
		Instances: p.Instances, Health: c.Health, StartTimeout: p.StartTimeout, StopTimeout: p.StopTimeout,
		HealthEvery: p.HealthCheck.Every, HealthTimeout: p.HealthCheck.Timeout, HealthMisses: p.HealthCheck.Misses,
		Restart: budget.Policy{
			First: p.Restart.Backoff, Most: p.Restart.MaxBackoff, Stable: p.Restart.Stable, Crashes: p.Restart.Crashes,
			Window: p.Restart.Window, Hold: p.Restart.Quarantine, Longest: p.Restart.MaxQuarantine,
		},
		Output: output.Options{Line: int(p.Output.Line), Rate: int(p.Output.Rate), Keep: p.Output.Lines},
		Handshake: handshake.Config{
			CookieKey: p.Handshake.CookieKey, CookieValue: p.Handshake.CookieValue, Versions: p.Handshake.Versions, TCP: p.Handshake.TCP,
		},
		RPC: rpcOptions(c),
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		o.Env = append(o.Env, name+"="+p.Env[name])
	}
	switch p.Handshake.Mode {
	case config.HandshakeGoPlugin:
		o.Handshake.Mode = handshake.GoPlugin
	case config.HandshakePlain:
		o.Handshake.Mode = handshake.Plain
	case config.HandshakeAuto, "":
	default:
		return o, fmt.Errorf("plugin server %q: unknown handshake %q", name, p.Handshake.Mode)
	}
	switch p.Handshake.TLS {
	case config.HandshakeTLSRequired:
		o.Handshake.TLS = handshake.TLSRequired
	case config.HandshakeTLSOff:
		o.Handshake.TLS = handshake.TLSOff
	case config.HandshakeTLSOffered, "":
	default:
		return o, fmt.Errorf("plugin server %q: unknown TLS %q", name, p.Handshake.TLS)
	}
	return o, nil
}

// digest says in one word what settings say: they are equal when it is.
func digest(c *config.PluginServer) (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("settings of a plugin server: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// NotReadyError says that a plugin server whose settings or code have changed did not get ready, so that the one before it
// goes on.
type NotReadyError struct {
	Server string
	Reason string
}

// Error says what is left as it was, and why.
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("plugin server %q: its changed processes did not get ready, the old ones go on: %s", e.Server, e.Reason)
}

// succeed makes sure that processes take calls before they take the place of others that do: those would be ended.
func (s *Servers) succeed(ctx context.Context, one *opened) error {
	if one.process == nil || one.up() {
		return nil
	}
	succeeds := false
	s.open.Each(func(k serverKey, o *opened, _ int) {
		succeeds = succeeds || o != one && k.name == one.name && o.process != nil && o.up()
	})
	if !succeeds {
		return nil
	}
	one.process.Settle(ctx)
	if one.up() {
		one.process.SettleAll(ctx) // as many as take the calls now
		return nil
	}
	reason := "there is no time left: see load_timeout in the settings"
	for _, i := range one.process.Status().Instances {
		if i.LastCrash != nil {
			reason = i.LastCrash.Error
		}
	}
	if err := one.process.LoadError(); err != nil {
		reason = err.Error()
	}
	return &NotReadyError{one.name, reason}
}

// ready reports whether an instance takes calls.
func ready(i *process.InstanceStatus) bool {
	return i.State == process.StateReady && i.RPC != nil && i.RPC.State == rpc.StateReady
}

// Replace replaces the processes of a plugin server, one after the other, without a failed call; a crash budget that is
// used up begins anew. It returns when the new ones take calls, or one does not: then it goes on as it was. An error that
// is a [*router.Refusal] says that there are none.
func (s *Servers) Replace(ctx context.Context, name string) error {
	var all []*process.Server
	err := router.Refusef(http.StatusNotFound, "no plugin server %q is in use", name)
	s.open.Each(func(k serverKey, o *opened, _ int) {
		switch {
		case k.name != name:
		case o.process == nil:
			err = router.Refusef(http.StatusConflict, "plugin server %q is at an address: the gateway did not start it", name)
		default:
			all = append(all, o.process)
		}
	})
	if len(all) == 0 {
		return err
	}
	var errs []error
	for _, p := range all {
		if err := p.Replace(ctx); !errors.Is(err, process.ErrClosed) { // one that a reload has replaced leaves meanwhile
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return router.Refusef(http.StatusNotFound, "plugin server %q is in use no more", name)
	}
	return errors.Join(errs...)
}

// instances is what metrics say of processes.
func (o *opened) instances() []observe.PluginInstance {
	var list []observe.PluginInstance
	st := o.process.Status()
	for n := range st.Instances {
		i := &st.Instances[n]
		row := observe.PluginInstance{Server: o.name, Address: place(i.Instance), State: string(i.State)}
		if i.RPC != nil {
			fill(&row, i.RPC)
			if i.State == process.StateReady {
				row.State = string(i.RPC.State)
			}
		}
		row.Up = ready(i)
		list = append(list, row)
	}
	return list
}

// place is how metrics call an instance that has no address of its own.
func place(instance int) string { return "#" + strconv.Itoa(instance) }

// States are all that an instance of a plugin server can be in, for metrics.
func States() []string {
	return []string{
		string(rpc.StateConnecting), string(rpc.StateReady), string(rpc.StateNotServing), string(rpc.StateDown),
		string(process.StateStarting), string(process.StateBackoff), string(process.StateQuarantined),
	}
}
