package outside

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Opener gives the compilation of one table what lies outside the host. All of it is required. It is for one goroutine.
type Opener struct {
	Ctx     context.Context // lends its values
	Servers *Servers
	Targets *Targets
	// Settings are those of plugin servers by name, Plugins the plugin folders.
	Settings map[string]config.PluginServer
	Plugins  []*config.Plugin
	// Scripts are the plugins that run inside the gateway, Room what they get.
	Scripts *scripts.Scripts
	Room    *scripts.Room
	// Builtins are the ready-made plugins, Data the folder below which they may keep files.
	Builtins *builtin.Builtins
	Data     string
	// Lifetime is of the keys that scripts make, where their API says nothing.
	Lifetime identity.Lifetime
	// Notify is told when a target of a definition's goes down or comes up.
	Notify func(d *config.Definition, e upstream.Event)

	notReady map[string]*NotReadyError // plugin servers by name, which are not tried again
}

var _ host.Opener = (*Opener)(nil)

// Server opens the plugin server, the script, or the ready-made plugin of that name.
func (o *Opener) Server(d *config.Definition, name string) (host.Server, error) {
	if u := d.Builtin(name); u != nil {
		return o.Builtins.Get(o.Ctx, u, filepath.Join(o.Data, "plugins"))
	}
	if one, owner := o.script(d, name); one != nil {
		return o.Scripts.Get(o.Ctx, o.Room, owner, one)
	}
	switch one := d.Script(name); {
	case one != nil: // in Python, for script passes over those
		name = d.PythonServer(one)
	case name == "":
		name = config.DefaultServer
	}
	settings, ok := o.Settings[name]
	if !ok {
		return nil, hint.New(
			fmt.Errorf("there is no plugin server %q", name),
			"name its address with --plugin-server or under servers in the settings",
		)
	}
	if err := o.notReady[name]; err != nil {
		return nil, err
	}
	s, err := o.Servers.Get(o.Ctx, name, settings)
	var failed *NotReadyError
	if errors.As(err, &failed) {
		if o.notReady == nil {
			o.notReady = map[string]*NotReadyError{}
		}
		o.notReady[name] = failed
	}
	return s, err
}

// HasScript reports whether what a definition names so runs inside the gateway.
func (o *Opener) HasScript(d *config.Definition, name string) bool {
	one, _ := o.script(d, name)
	return one != nil
}

// script finds the script that a definition, or a plugin's folder, has under a name; nil when there is none.
func (o *Opener) script(d *config.Definition, name string) (*config.Script, scripts.Owner) {
	if one := d.Script(name); one != nil && one.Language == config.Python {
		return nil, scripts.Owner{} // it is a plugin server
	} else if one != nil {
		return one, scripts.Owner{Name: d.ID + "/" + name, Org: d.Org, Lifetime: lifetime(d, o.Lifetime)}
	}
	for _, p := range o.Plugins {
		if p.Name == name && p.Broken == nil && p.Script() != nil && p.Script().Language != config.Python {
			return p.Script(), scripts.Owner{Name: name}
		}
	}
	return nil, scripts.Owner{}
}

// Plugin returns the policy that the plugin's folder asks for a hook, or the settings for one in a script.
func (o *Opener) Plugin(d *config.Definition, server, hook string, _ []byte) (config.Policy, error) {
	if u := d.Builtin(server); u != nil {
		return o.Builtins.Policy(u, hook)
	}
	var own config.Policy
	if one, _ := o.script(d, server); one != nil {
		own = o.Room.Policy()
	}
	for _, p := range o.Plugins {
		if p.Name != server {
			continue
		}
		for _, h := range p.Hooks {
			if h.Name == hook {
				return h.Policy.WithDefaults(own), nil
			}
		}
	}
	return own, nil
}

// lifetime is of sessions that an API makes (see [identity.Lifetime]).
func lifetime(d *config.Definition, gateways identity.Lifetime) identity.Lifetime {
	return identity.Lifetime{
		API: cmp.Or(d.Auth.Lifetime, gateways.API), RespectExpiry: d.Auth.RespectExpiry || gateways.RespectExpiry,
	}
}

// Upstream makes the upstream of a definition.
func (o *Opener) Upstream(d *config.Definition, target string) (host.Upstream, error) {
	c, notify := &d.Upstream, o.Notify
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
	u, err := upstream.New(context.WithoutCancel(o.Ctx), opts)
	if err != nil {
		return nil, err
	}
	t := &targeted{Upstream: u, use: useOf(d, target), all: o.Targets}
	if before := o.Targets.latest(&t.use); before != nil {
		u.Inherit(before.Upstream)
	}
	o.Targets.add(t)
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

// BundleTLS is how the gateway behaves as a TLS client of the server of bundles; nil where nothing is said.
func BundleTLS(c *config.BundleTLS) (*tls.Config, error) {
	if *c == (config.BundleTLS{}) {
		return nil, nil
	}
	t, err := clientTLS(c.CAFile, c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	t.ServerName, t.InsecureSkipVerify = c.ServerName, c.InsecureSkipVerify
	return t, nil
}
