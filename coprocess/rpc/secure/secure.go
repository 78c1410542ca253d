// Package secure is TLS towards plugin servers: for grpc-go's connections and for our own.
package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Client is one instance's TLS. The zero value is none.
type Client struct {
	config *tls.Config // nil: none
}

// New returns what config asks for, nil for none; unless it names the server, the server's certificate must have the
// name of the host in address.
func New(config *tls.Config, address string) Client {
	if config == nil {
		return Client{}
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.ServerName == "" {
		config.ServerName = hostOf(address)
	}
	config.NextProtos = []string{"h2"}
	return Client{config}
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// On reports whether there is TLS.
func (c Client) On() bool { return c.config != nil }

// Credentials are for grpc-go.
func (c Client) Credentials() credentials.TransportCredentials {
	if c.config == nil {
		return insecure.NewCredentials()
	}
	return named{credentials.NewTLS(c.config), c.config.ServerName}
}

// Handshake makes the connection TLS's, if there is any; else it closes it. The server has to agree to HTTP/2
// (RFC 9113 §3.2).
func (c Client) Handshake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if c.config == nil {
		return nc, nil
	}
	t := tls.Client(nc, c.config)
	err := t.HandshakeContext(ctx)
	if err == nil && t.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("server does not agree to HTTP/2 in TLS (ALPN h2)")
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return t, nil
}

// named is TLS with a server name that need not be the calls' authority, as gRPC would have it.
type named struct {
	credentials.TransportCredentials
	name string
}

// ClientHandshake asks for the name instead of the authority.
func (c named) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.TransportCredentials.ClientHandshake(ctx, c.name, conn)
}

// Info leaves the name out, which gRPC would hold against the authority.
func (c named) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: c.TransportCredentials.Info().SecurityProtocol}
}

// Clone implements [credentials.TransportCredentials].
func (c named) Clone() credentials.TransportCredentials {
	return named{c.TransportCredentials.Clone(), c.name}
}
