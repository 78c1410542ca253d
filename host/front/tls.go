package front

import (
	"crypto/tls"
	"log/slog"
)

// ServerTLS returns a configuration for a listener that is no front, with certificates that are read again when their
// files change. It offers what the first reading offered in every other respect.
func ServerTLS(o TLSOptions, logger *slog.Logger) (*tls.Config, error) {
	c, err := newCertificates(&o, logger)
	if err != nil {
		return nil, err
	}
	t := c.config().Clone()
	t.ClientAuth = tls.NoClientCert
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.config(), nil }
	return t, nil
}
