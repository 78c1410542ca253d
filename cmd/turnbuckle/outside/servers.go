// Package outside wires what lies outside the host: plugin servers, and the targets of upstreams.
package outside

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Servers owns the plugin servers that are in use: the connections to those at an address, and the processes of those that
// the gateway starts. Routes share them: over a reload too, as long as a server's settings and files stay the same.
type Servers struct {
	// Storage is what plugins in processes of their own are lent of the gateway's state, Publish takes the events that they
	// send. Both are set before the first is opened.
	Storage func() (script.Storage, error)
	Publish func(sdk.Event)

	log     *slog.Logger
	version string
	pythons pythons

	open share.Keyed[serverKey, *opened]
}

type serverKey struct {
	name     string
	settings string // see digest
	files    string // see ofServer
}

// opened is a plugin server: one at an address, or one that the gateway started.
type opened struct {
	coprocess.Server
	name     string
	settings config.PluginServer
	rpc      *rpc.Server     // nil: the gateway started it
	process  *process.Server // nil: it is at an address
}

// NewServers returns none. version is how the gateway calls itself towards them.
func NewServers(log *slog.Logger, version string) *Servers {
	return &Servers{log: log, version: version}
}

func (s *Servers) host() string { return "turnbuckle/" + s.version }

// Get returns a server, connecting to it or starting it when nobody has yet. Each is given back by its Close. A server
// that the gateway starts, and that takes the place of one of its name which takes calls, takes calls itself before it
// is returned: an error that is a [*NotReadyError] says that it does not in the time that ctx has.
func (s *Servers) Get(ctx context.Context, name string, settings config.PluginServer) (host.Server, error) {
	said, err := digest(&settings)
	if err != nil {
		return nil, err
	}
	l, err := s.open.Get(serverKey{name, said, ofServer(&settings)}, func() (*opened, error) { return s.begin(ctx, name, settings) })
	if err != nil {
		return nil, err
	}
	if err := s.succeed(ctx, l.Value); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &lease{l.Value, l}, nil
}

func (s *Servers) begin(ctx context.Context, name string, c config.PluginServer) (*opened, error) {
	o := &opened{name: name, settings: c}
	var err error
	if c.Start.Python != nil {
		one, err := s.startPython(ctx, name, &c)
		if err != nil {
			return nil, err
		}
		o.process, o.Server = one.Server.Server, one
		return o, nil
	}
	if len(c.Start.Command) > 0 {
		o.process, err = s.start(ctx, name, &c)
		o.Server = o.process
		return o, err
	}
	o.rpc, err = s.connect(ctx, name, &c)
	o.Server = o.rpc
	return o, err
}

func (s *Servers) connect(ctx context.Context, name string, c *config.PluginServer) (*rpc.Server, error) {
	o := rpcOptions(c)
	o.Address, o.Health, o.Host, o.Log = c.Address, c.Health, s.host(), s.log.With("plugin_server", name)
	if c.TLS.Enabled {
		var err error
		if o.TLS, err = PluginTLS(&c.TLS); err != nil {
			return nil, err
		}
	}
	return rpc.Open(ctx, o)
}

// rpcOptions are how calls travel, wherever the server is.
func rpcOptions(c *config.PluginServer) rpc.Options {
	o := rpc.Options{
		Authority: c.Authority, MaxRecv: int(c.MaxRecv), MaxSend: int(c.MaxSend), Streams: c.Streams, Window: c.Window,
		ConnectTimeout: c.ConnectTimeout, DrainTimeout: c.Start.DrainTimeout,
	}
	if c.Protocol != config.ServerAuto {
		o.Protocol = rpc.Protocol(c.Protocol)
	}
	return o
}

// PluginTLS is how the gateway behaves as a TLS client of its own servers: plugins', the store's.
func PluginTLS(c *config.PluginTLS) (*tls.Config, error) {
	t, err := clientTLS(c.CAFile, c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	t.ServerName = c.ServerName
	return t, nil
}

// lease is one route's use of a server.
type lease struct {
	*opened
	lease *share.Lease[serverKey, *opened]
}

// Close gives the server back; the last lease closes it.
func (l *lease) Close() error { return l.lease.Close() }

// Identity says which server it is a lease of (see [host.Server]).
func (l *lease) Identity() any { return l.lease.Identity() }

// Settle waits until it is known whether the server takes calls, or ctx ends.
func (o *opened) Settle(ctx context.Context) {
	if o.process != nil {
		o.process.Settle(ctx)
		return
	}
	o.rpc.Settle(ctx)
}

// up reports whether an instance takes calls.
func (o *opened) up() bool {
	if o.process != nil {
		return o.process.Up()
	}
	return slices.ContainsFunc(o.rpc.Status(), func(i rpc.InstanceStatus) bool { return i.State == rpc.StateReady })
}

// Dead counts the servers of which no instance takes calls.
func (s *Servers) Dead() int {
	n := 0
	s.open.Each(func(_ serverKey, o *opened, _ int) {
		if !o.up() {
			n++
		}
	})
	return n
}

// Status is what the control listener shows, by name.
func (s *Servers) Status() any {
	type server struct {
		Name      string    `json:"name"`
		Address   string    `json:"address,omitempty"`
		Command   []string  `json:"command,omitempty"`
		Dir       string    `json:"dir,omitempty"`
		Protocol  string    `json:"protocol"`
		Users     int       `json:"routes"`
		Instances any       `json:"instances"`
		Stats     rpc.Stats `json:"stats"`
	}
	list := []server{}
	s.open.Each(func(k serverKey, o *opened, users int) {
		one := server{Name: k.name, Address: o.settings.Address, Command: o.settings.Start.Command, Users: users}
		if o.process != nil {
			st := o.process.Status()
			one.Command, one.Dir, one.Protocol, one.Instances, one.Stats = st.Command, o.settings.Start.Dir, o.process.Protocol(), st.Instances, o.process.Stats()
			if p := o.settings.Start.Python; p != nil {
				one.Dir = p.Folder
			}
		} else {
			one.Protocol, one.Instances, one.Stats = o.rpc.Protocol(), o.rpc.Status(), o.rpc.Stats()
		}
		list = append(list, one)
	})
	slices.SortFunc(list, func(a, b server) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Instances is what metrics say of the plugin servers.
func (s *Servers) Instances() []observe.PluginInstance {
	var list []observe.PluginInstance
	s.open.Each(func(k serverKey, o *opened, _ int) {
		if o.process != nil {
			list = append(list, o.instances()...)
			return
		}
		all := o.rpc.Status()
		for i := range all {
			row := observe.PluginInstance{Server: k.name, Address: all[i].Address, State: string(all[i].State), Up: all[i].State == rpc.StateReady}
			fill(&row, &all[i])
			list = append(list, row)
		}
	})
	return list
}

// fill adds what is counted of an instance's connection.
func fill(row *observe.PluginInstance, i *rpc.InstanceStatus) {
	row.Calls, row.Frames, row.LateReplies = i.Stats.Calls, i.Stats.CallFrames, i.Stats.LateReplies
	row.UnknownReplies, row.Waiting, row.InFlight = i.Stats.Unknown, i.Stats.Waiting, i.InFlight
}
