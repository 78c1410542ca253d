// Package handshake is the host's side of how hashicorp/go-plugin starts plugin servers (see sdk/serve/handshake for the
// plugin's), and what plugins that know nothing of it are told instead.
package handshake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	shared "github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// Mode says which plugins are expected.
type Mode string

// The modes.
const (
	Auto     Mode = ""         // whatever comes first
	GoPlugin Mode = "goplugin" // the first line on the standard output is the handshake's
	Plain    Mode = "plain"    // it listens where the environment says
)

// Config is what host and plugin have agreed on. The zero value is for plugins written with our SDKs.
type Config struct {
	Mode Mode
	// CookieKey, CookieValue and Versions are a go-plugin's own (its HandshakeConfig and the versions of its
	// VersionedPlugins).
	CookieKey, CookieValue string
	Versions               []int
	TLS                    TLS
	// TCP lets the plugin announce a port on the loopback interface; else it must be a socket in its folder.
	TCP bool
}

// TLS says whether host and plugin speak mutual TLS, with certificates made for the one start.
type TLS string

// What TLS may be. A plugin that does not know the handshake has none.
const (
	TLSOffered  TLS = ""         // if the plugin can
	TLSRequired TLS = "required" // or the plugin is not used
	TLSOff      TLS = "off"
)

// WithDefaults fills in what our SDKs use.
func (c Config) WithDefaults() Config {
	if c.CookieKey == "" {
		c.CookieKey, c.CookieValue = shared.CookieKey, shared.CookieValue
	}
	if len(c.Versions) == 0 {
		c.Versions = []int{shared.Version}
	}
	return c
}

// Validate reports what makes no sense.
func (c Config) Validate() error {
	switch c.Mode {
	case Auto, GoPlugin, Plain:
	default:
		return fmt.Errorf("unknown handshake %q: want goplugin, plain or nothing", c.Mode)
	}
	switch c.TLS {
	case TLSOffered, TLSRequired, TLSOff:
	default:
		return fmt.Errorf("unknown TLS %q: want required, off or nothing", c.TLS)
	}
	if c.Mode == Plain && c.TLS == TLSRequired {
		return errors.New("TLS cannot be required of a plugin that does not know the handshake")
	}
	if strings.ContainsAny(c.CookieKey, "=\x00") {
		return fmt.Errorf("cookie key %q is no name of an environment variable", c.CookieKey)
	}
	return nil
}

// What tells a plain plugin where to listen: a unix socket. The second is what our Go SDK's flag goes by.
const (
	EnvListen    = "TURNBUCKLE_LISTEN"
	envListenSDK = "TURNBUCKLE_PLUGIN_LISTEN"
	socketName   = "plugin.sock"
)

// Offer is the host's part, for one start.
type Offer struct {
	c    Config
	dir  string
	cert *shared.Certificate // nil: no TLS
}

// New makes the offer for a plugin whose sockets are to be in dir.
func New(c Config, dir string) (*Offer, error) {
	o := &Offer{c: c.WithDefaults(), dir: dir}
	if o.c.Mode != Plain && o.c.TLS != TLSOff {
		var err error
		if o.cert, err = shared.NewCertificate(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Env is what the plugin's environment gets.
func (o *Offer) Env() []string {
	var env []string
	set := func(name, value string) { env = append(env, name+"="+value) }
	if o.c.Mode != GoPlugin {
		set(EnvListen, "unix:"+o.Socket())
		set(envListenSDK, "unix:"+o.Socket())
	}
	if o.c.Mode == Plain {
		return env
	}
	versions := make([]string, len(o.c.Versions))
	for i, v := range o.c.Versions {
		versions[i] = strconv.Itoa(v)
	}
	set(o.c.CookieKey, o.c.CookieValue)
	set(shared.EnvVersions, strings.Join(versions, ","))
	set(shared.EnvSocketDir, o.dir)
	set(shared.EnvMinPort, "10000")
	set(shared.EnvMaxPort, "25000")
	if o.cert != nil {
		set(shared.EnvClientCert, string(o.cert.PEM()))
	}
	return env
}

// Socket is where a plain plugin listens.
func (o *Offer) Socket() string { return filepath.Join(o.dir, socketName) }

// Target is where the plugin listens.
type Target struct {
	Network, Address string
	TLS              *tls.Config // nil: none
	Handshake        bool        // it knows the handshake, so it has go-plugin's services
}

// Plain is the target of a plugin that has said nothing.
func (o *Offer) Plain() Target { return Target{Network: "unix", Address: o.Socket()} }

// Looks reports whether a line could be meant as the handshake's.
func Looks(line string) bool {
	core, rest, found := strings.Cut(line, "|")
	_, err := strconv.Atoi(core)
	return found && err == nil && strings.Count(rest, "|") >= 2
}

// Accept reads the plugin's line and says where it listens, or why that is not acceptable.
func (o *Offer) Accept(line string) (Target, error) {
	fields := strings.Split(strings.TrimSpace(line), "|")
	bad := func(format string, a ...any) (Target, error) {
		return Target{}, fmt.Errorf("handshake %.200q: %w", line, fmt.Errorf(format, a...))
	}
	if len(fields) < 4 || len(fields) > 7 {
		return bad("want core|version|network|address|protocol|certificate on the first line of the standard output")
	}
	if fields[0] != strconv.Itoa(shared.Core) {
		return bad("the plugin's go-plugin is of another generation: want %d first", shared.Core)
	}
	if v, err := strconv.Atoi(fields[1]); err != nil || !slices.Contains(o.c.Versions, v) {
		return bad("plugin has version %q, wanted is one of %v", fields[1], o.c.Versions)
	}
	if len(fields) < 5 || fields[4] != "grpc" {
		return bad("plugin does not serve gRPC")
	}
	t := Target{Network: fields[2], Address: fields[3], Handshake: true}
	if err := o.within(t); err != nil {
		return bad("%w", err)
	}
	// Older plugins have other things than a certificate in its place: they are shorter.
	const shortest = 50
	switch {
	case o.cert != nil && len(fields) > 5 && len(fields[5]) > shortest:
		var err error
		if t.TLS, err = o.cert.Client(fields[5]); err != nil {
			return bad("%w", err)
		}
	case o.c.TLS == TLSRequired:
		return bad("plugin offers no mutual TLS, which is required")
	}
	return t, nil
}

// within refuses addresses that a plugin has no business with: what is dialed is the plugin's word.
func (o *Offer) within(t Target) error {
	switch t.Network {
	case "unix":
		if filepath.Dir(filepath.Clean(t.Address)) != filepath.Clean(o.dir) {
			return fmt.Errorf("socket is not in the plugin's own folder (%s)", shared.EnvSocketDir)
		}
		info, err := os.Lstat(t.Address)
		if err != nil {
			return fmt.Errorf("no such socket: %w", err)
		}
		if info.Mode().Type() != fs.ModeSocket {
			return errors.New("address is no socket")
		}
		return nil
	case "tcp":
		host, _, err := net.SplitHostPort(t.Address)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); !o.c.TCP || ip == nil || !ip.IsLoopback() {
			return errors.New("address is not a socket in the plugin's own folder; with tcp allowed, ports of 127.0.0.1 are accepted too")
		}
		return nil
	}
	return fmt.Errorf("unknown network %q", t.Network)
}
