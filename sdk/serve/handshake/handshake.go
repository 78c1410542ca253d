// Package handshake is the plugin's side of how hashicorp/go-plugin starts plugin servers, and what both sides share: the
// host starts the plugin with a cookie in its environment, and the plugin says on one line of its standard output where
// it listens.
package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/listen"
)

// What hosts have to agree on with plugins that are written with our SDK (go-plugin's HandshakeConfig). The cookie is no
// secret: it tells a plugin that a host started it, and not somebody at a shell.
const (
	CookieKey   = "TURNBUCKLE_PLUGIN_COOKIE"
	CookieValue = "turnbuckle.plugin.v1"
	Version     = 1 // of what a plugin serves; Core is of the handshake itself
	Core        = 1
)

// The environment of a plugin that go-plugin starts.
const (
	EnvVersions    = "PLUGIN_PROTOCOL_VERSIONS"
	EnvClientCert  = "PLUGIN_CLIENT_CERT" // PEM; asks for mutual TLS
	EnvSocketDir   = "PLUGIN_UNIX_SOCKET_DIR"
	EnvSocketGroup = "PLUGIN_UNIX_SOCKET_GROUP"
	EnvMultiplex   = "PLUGIN_MULTIPLEX_GRPC"
	EnvMinPort     = "PLUGIN_MIN_PORT"
	EnvMaxPort     = "PLUGIN_MAX_PORT"
)

// What a plugin serves beside its own services.
const (
	HealthService     = "plugin" // asked of grpc.health.v1
	ControllerService = "plugin.GRPCController"
	StdioService      = "plugin.GRPCStdio"
)

// Wanted reports whether a host started this process, for one of our plugins.
func Wanted(getenv func(string) string) bool { return getenv(CookieKey) == CookieValue }

// Answer is the plugin's part of a handshake. Close its listener, or serve on it.
type Answer struct {
	Listener net.Listener
	TLS      *tls.Config // nil: none

	line string
}

// Open listens where the host wants it, on a socket with a name of its own, or at an address that is not empty.
func Open(ctx context.Context, address string, getenv func(string) string) (*Answer, error) {
	a := &Answer{}
	cert := ""
	if pem := getenv(EnvClientCert); pem != "" {
		own, err := NewCertificate()
		if err != nil {
			return nil, err
		}
		if a.TLS, err = own.Server([]byte(pem)); err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", EnvClientCert, err)
		}
		cert = own.Line()
	}
	if address == "" {
		path, err := socketPath(getenv(EnvSocketDir))
		if err != nil {
			return nil, err
		}
		address = "unix:" + path
	}
	l, err := listen.Open(ctx, address, 0o600, false)
	if err != nil {
		return nil, err
	}
	if group := getenv(EnvSocketGroup); group != "" && l.Addr().Network() == "unix" {
		if err := shareWith(l.Addr().String(), group); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	a.Listener = l
	a.line = fmt.Sprintf("%d|%d|%s|%s|grpc|%s", Core, Version, l.Addr().Network(), l.Addr().String(), cert)
	if getenv(EnvMultiplex) != "" { // older hosts take a seventh field for part of the sixth
		a.line += "|false"
	}
	return a, nil
}

// Tell tells the host, at the other end of the process's standard output.
func (a *Answer) Tell(stdout io.Writer) error {
	if _, err := io.WriteString(stdout, a.line+"\n"); err != nil {
		return fmt.Errorf("tell the host where the plugin listens: %w", err)
	}
	return nil
}

// socketPath finds a name for a socket that nothing has in the folder, by default the system's for temporary files.
func socketPath(dir string) (string, error) {
	f, err := os.CreateTemp(dir, "plugin")
	if err != nil {
		return "", fmt.Errorf("find a name for the socket: %w", err)
	}
	path := f.Name()
	if err := errors.Join(f.Close(), os.Remove(path)); err != nil {
		return "", fmt.Errorf("find a name for the socket: %w", err)
	}
	return filepath.Abs(path)
}

// shareWith lets the members of a group, which is a name or a number, use the socket.
func shareWith(path, group string) error {
	const mode fs.FileMode = 0o660
	id, err := strconv.Atoi(group)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", EnvSocketGroup, err)
		}
		if id, err = strconv.Atoi(g.Gid); err != nil {
			return fmt.Errorf("environment variable %s: group %q has no number: %w", EnvSocketGroup, group, err)
		}
	}
	if err := os.Chown(path, -1, id); err != nil {
		return fmt.Errorf("give the socket to group %s: %w", group, err)
	}
	return os.Chmod(path, mode)
}

// pool holds the certificates of a PEM text, at least one.
func pool(pem []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("no PEM certificate in it")
	}
	return p, nil
}
