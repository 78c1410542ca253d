package front

import (
	"crypto/tls"
	"log/slog"
)

// ServerTLS returns a configuration for a listener that is no front, with certificates that are read again when their
// files change. Clients are asked for certificates only if o names their roots or requires them.
func ServerTLS(o TLSOptions, logger *slog.Logger) (*tls.Config, error) {
	c, err := newCertificates(&o, false, logger)
	if err != nil {
		return nil, err
	}
	t := c.config().Clone()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.config(), nil }
	return t, nil
}
