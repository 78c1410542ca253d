// Package outside wires what lies outside the host: plugin servers, and the targets of upstreams.
package outside

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// Servers owns the connections to plugin servers. Routes share them: over a reload too, as long as a server's settings
// stay the same.
type Servers struct {
	log     *slog.Logger
	version string

	open share.Keyed[serverKey, *rpc.Server]
}

type serverKey struct {
	name     string
	settings config.PluginServer
	files    string // see ofServer
}

// NewServers returns none. version is how the gateway calls itself towards them.
func NewServers(log *slog.Logger, version string) *Servers {
	return &Servers{log: log, version: version}
}

// Get returns a server, connecting to it when nobody has yet. Each is given back by its Close.
func (s *Servers) Get(ctx context.Context, name string, settings config.PluginServer) (host.Server, error) {
	l, err := s.open.Get(serverKey{name, settings, ofServer(&settings)}, func() (*rpc.Server, error) { return s.connect(ctx, name, settings) })
	if err != nil {
		return nil, err
	}
	return &lease{l.Value, l}, nil
}

func (s *Servers) connect(ctx context.Context, name string, c config.PluginServer) (*rpc.Server, error) {
	o := rpc.Options{
		Address: c.Address, Authority: c.Authority, Health: c.Health,
		MaxRecv: int(c.MaxRecv), MaxSend: int(c.MaxSend), Streams: c.Streams, Window: c.Window,
		ConnectTimeout: c.ConnectTimeout, Host: "turnbuckle/" + s.version, Log: s.log.With("plugin_server", name),
	}
	if c.Protocol != config.ServerAuto {
		o.Protocol = rpc.Protocol(c.Protocol)
	}
	if c.TLS.Enabled {
		var err error
		if o.TLS, err = PluginTLS(&c.TLS); err != nil {
			return nil, err
		}
	}
	return rpc.Open(ctx, o)
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
	*rpc.Server
	lease *share.Lease[serverKey, *rpc.Server]
}

// Close gives the server back; the last lease closes it.
func (l *lease) Close() error { return l.lease.Close() }

// Identity says which server it is a lease of (see [host.Server]).
func (l *lease) Identity() any { return l.lease.Identity() }

// Dead counts the servers of which no instance takes calls.
func (s *Servers) Dead() int {
	n := 0
	s.open.Each(func(_ serverKey, o *rpc.Server, _ int) {
		if !slices.ContainsFunc(o.Status(), func(i rpc.InstanceStatus) bool { return i.State == rpc.StateReady }) {
			n++
		}
	})
	return n
}

// Status is what the control listener shows.
func (s *Servers) Status() any {
	type server struct {
		Name      string               `json:"name"`
		Address   string               `json:"address"`
		Protocol  string               `json:"protocol"`
		Users     int                  `json:"routes"`
		Instances []rpc.InstanceStatus `json:"instances"`
		Stats     rpc.Stats            `json:"stats"`
	}
	list := []server{}
	s.open.Each(func(k serverKey, o *rpc.Server, users int) {
		list = append(list, server{k.name, k.settings.Address, o.Protocol(), users, o.Status(), o.Stats()})
	})
	return list
}

// Instances is what metrics say of the plugin servers.
func (s *Servers) Instances() []observe.PluginInstance {
	var list []observe.PluginInstance
	s.open.Each(func(k serverKey, o *rpc.Server, _ int) {
		for _, i := range o.Status() {
			list = append(list, observe.PluginInstance{
				Server: k.name, Address: i.Address, State: string(i.State), Up: i.State == rpc.StateReady,
				Calls: i.Stats.Calls, Frames: i.Stats.CallFrames, LateReplies: i.Stats.LateReplies,
				UnknownReplies: i.Stats.Unknown, Waiting: i.Stats.Waiting, InFlight: i.InFlight,
			})
		}
	})
	return list
}
