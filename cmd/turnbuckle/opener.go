package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// servers owns the connections to plugin servers. Routes share them: over a reload too, as long as a server's settings
// stay the same.
type servers struct {
	log *slog.Logger

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

func newServers(log *slog.Logger) *servers {
	return &servers{log: log, open: map[serverKey]*sharedServer{}}
}

// get returns a server, connecting to it when nobody has yet. Each is given back by its Close.
func (s *servers) get(ctx context.Context, name string, settings config.PluginServer) (host.Server, error) {
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

func (s *servers) connect(ctx context.Context, name string, c config.PluginServer) (*rpc.Server, error) {
	o := rpc.Options{
		Address: c.Address, Authority: c.Authority, Health: c.Health,
		MaxRecv: int(c.MaxRecv), MaxSend: int(c.MaxSend), Streams: c.Streams, Window: c.Window,
		ConnectTimeout: c.ConnectTimeout, Host: "turnbuckle/" + version, Log: s.log.With("plugin_server", name),
	}
	if c.Protocol != config.ServerAuto {
		o.Protocol = rpc.Protocol(c.Protocol)
	}
	if c.TLS.Enabled {
		var err error
		if o.TLS, err = pluginTLS(&c.TLS); err != nil {
			return nil, err
		}
	}
	return rpc.Open(ctx, o)
}

// pluginTLS is how the gateway behaves as a TLS client of its own servers: plugins', the store's.
func pluginTLS(c *config.PluginTLS) (*tls.Config, error) {
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
	from *servers
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

// dead counts the servers of which no instance takes calls.
func (s *servers) dead() int {
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

// status is what the control listener shows.
func (s *servers) status() any {
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

// instances is what metrics say of the plugin servers.
func (s *servers) instances() []observe.PluginInstance {
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

// opener gives a table's compilation what lies outside the host.
type opener struct {
	ctx     context.Context
	servers *servers
	targets *targets
	defs    *definitions
	notify  func(d *config.Definition, e upstream.Event)
}

var _ host.Opener = (*opener)(nil)

// Server opens the plugin server of that name.
func (o *opener) Server(name string) (host.Server, error) {
	if name == "" {
		name = config.DefaultServer
	}
	settings, ok := o.defs.servers[name]
	if !ok {
		return nil, hinted{
			fmt.Errorf("there is no plugin server %q", name),
			"name its address with --plugin-server or under servers in the settings",
		}
	}
	return o.servers.get(o.ctx, name, settings)
}

// Plugin returns the policy that the plugin's folder asks for a hook.
func (o *opener) Plugin(server, hook string, _ []byte) (config.Policy, error) {
	for _, p := range o.defs.plugins {
		if p.Name != server {
			continue
		}
		for _, h := range p.Hooks {
			if h.Name == hook {
				return h.Policy, nil
			}
		}
	}
	return config.Policy{}, nil
}

// Upstream makes the upstream of a definition.
func (o *opener) Upstream(d *config.Definition, target string) (host.Upstream, error) {
	c, notify := &d.Upstream, o.notify
	opts := upstream.Options{
		Protocol: upstream.Protocol(c.Protocol),
		Timeouts: upstream.Timeouts{Dial: c.Timeouts.Dial, Header: c.Timeouts.Header, Body: c.Timeouts.Body, Total: c.Timeouts.Total},
		Pool:     upstream.Pool{MaxIdle: c.MaxIdlePerTarget, IdleTimeout: c.Timeouts.Idle},
		Attempts: c.Retry.Attempts,
		Ejection: upstream.Ejection{Failures: c.Ejection.Failures, For: c.Ejection.For},
		Health: upstream.Health{
			Interval: c.Health.Interval, Timeout: c.Health.Timeout, Method: c.Health.Method, Path: c.Health.Path,
			Body: c.Health.Body, Status: c.Health.Status, Healthy: c.Health.Healthy, Unhealthy: c.Health.Unhealthy,
		},
		Notify: func(e upstream.Event) { notify(d, e) },
	}
	for _, h := range c.Health.Headers {
		opts.Health.Header = append(opts.Health.Header, sdk.Field(h))
	}
	for _, t := range c.Targets {
		opts.Targets = append(opts.Targets, upstream.Target{URL: t.URL, Weight: t.Weight})
	}
	if target != "" {
		opts.Targets = []upstream.Target{{URL: target}}
	}
	secured, err := upstreamTLS(&c.TLS)
	if err != nil {
		return nil, err
	}
	opts.TLS = secured
	u, err := upstream.New(context.WithoutCancel(o.ctx), opts)
	if err != nil {
		return nil, err
	}
	t := &targeted{Upstream: u, route: d.ID, all: o.targets}
	o.targets.add(t)
	return t, nil
}

func upstreamTLS(c *config.ClientTLS) (*tls.Config, error) {
	t, err := clientTLS(c.CAFile, c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	t.ServerName, t.InsecureSkipVerify = c.ServerName, c.InsecureSkipVerify
	if c.MinVersion != 0 {
		t.MinVersion = uint16(c.MinVersion)
	}
	t.MaxVersion = uint16(c.MaxVersion)
	for _, name := range c.CipherSuites {
		for _, s := range tls.CipherSuites() {
			if s.Name == name {
				t.CipherSuites = append(t.CipherSuites, s.ID)
			}
		}
	}
	return t, nil
}

func clientTLS(ca, cert, key string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: %s holds no PEM certificate", ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// dry is an opener that connects to nothing, for check.
type dry struct{ opener }

// Server returns a server that does nothing.
func (*dry) Server(string) (host.Server, error) { return nothing{}, nil }

// Callers are none: nobody calls.
func (*dry) Callers() (*host.Callers, error) {
	return &host.Callers{Keys: &identity.Keys{}, Memory: authn.NewMemory()}, nil
}

// Limiter judges nothing, for the same reason.
func (*dry) Limiter() (limit.Limiter, error) { return nil, nil }

// Upstream checks what the real one would, and forwards nothing.
func (d *dry) Upstream(def *config.Definition, target string) (host.Upstream, error) {
	u, err := d.opener.Upstream(def, target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(d.ctx, time.Second)
	defer cancel()
	return u, u.Close(ctx)
}

// nothing is a plugin server nobody calls.
type nothing struct{}

func (nothing) Hook(sdk.HookUse) (sdk.Hook, error) {
	return sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return sdk.ErrUnavailable }), nil
}
func (nothing) Group([]sdk.Hook) (sdk.Hook, bool) { return nil, false }
func (nothing) Observer(string) sdk.Observer {
	return sdk.ObserverFunc(func(context.Context, sdk.Batch) error { return nil })
}
func (nothing) Close() error { return nil }
