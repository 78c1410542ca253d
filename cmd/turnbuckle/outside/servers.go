// Package outside wires what lies outside the host: plugin servers, and the targets of upstreams.
package outside

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"
	"sync"

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

	mu   sync.Mutex
	open map[serverKey]*sharedServer
}

type serverKey struct {
	name     string
	settings config.PluginServer
	files    string // see ofServer
}

type sharedServer struct {
	*rpc.Server
	key   serverKey
	users int
}

// NewServers returns none. version is how the gateway calls itself towards them.
func NewServers(log *slog.Logger, version string) *Servers {
	return &Servers{log: log, version: version, open: map[serverKey]*sharedServer{}}
}

// Get returns a server, connecting to it when nobody has yet. Each is given back by its Close.
func (s *Servers) Get(ctx context.Context, name string, settings config.PluginServer) (host.Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := serverKey{name, settings, ofServer(&settings)}
	shared := s.open[key]
	if shared == nil {
		opened, err := s.connect(ctx, name, settings)
		if err != nil {
			return nil, err
		}
		shared = &sharedServer{Server: opened, key: key}
		s.open[key] = shared
	}
	shared.users++
	return &lease{sharedServer: shared, from: s}, nil
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
	*sharedServer
	from *Servers
	once sync.Once
}

// Close gives the server back; the last lease closes it.
func (l *lease) Close() error {
	var err error
	l.once.Do(func() {
		l.from.mu.Lock()
		l.users--
		last := l.users == 0
		if last {
			delete(l.from.open, l.key)
		}
		l.from.mu.Unlock()
		if last {
			err = l.Server.Close()
		}
	})
	return err
}

// Identity says which server it is a lease of (see [host.Server]).
func (l *lease) Identity() any { return l.sharedServer }

// Dead counts the servers of which no instance takes calls.
func (s *Servers) Dead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, o := range s.open {
		if !slices.ContainsFunc(o.Server.Status(), func(i rpc.InstanceStatus) bool { return i.State == rpc.StateReady }) {
			n++
		}
	}
	return n
}

// Status is what the control listener shows.
func (s *Servers) Status() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	type server struct {
		Name      string               `json:"name"`
		Address   string               `json:"address"`
		Protocol  string               `json:"protocol"`
		Users     int                  `json:"routes"`
		Instances []rpc.InstanceStatus `json:"instances"`
		Stats     rpc.Stats            `json:"stats"`
	}
	list := []server{}
	for _, o := range s.open {
		list = append(list, server{o.key.name, o.key.settings.Address, o.Protocol(), o.users, o.Server.Status(), o.Stats()})
	}
	return list
}

// Instances is what metrics say of the plugin servers.
func (s *Servers) Instances() []observe.PluginInstance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []observe.PluginInstance
	for _, o := range s.open {
		for _, i := range o.Server.Status() {
			list = append(list, observe.PluginInstance{
				Server: o.key.name, Address: i.Address, State: string(i.State), Up: i.State == rpc.StateReady,
				Calls: i.Stats.Calls, Frames: i.Stats.CallFrames, LateReplies: i.Stats.LateReplies,
				UnknownReplies: i.Stats.Unknown, Waiting: i.Stats.Waiting, InFlight: i.InFlight,
			})
		}
	}
	return list
}
