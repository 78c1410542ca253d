package ship

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSSettings are about TLS towards a sink. The zero value is none.
type TLSSettings struct {
	Enabled bool `json:"enabled"`
	// CA is a file of PEM roots in place of the system's, Cert and Key are those of a client certificate. Any of them
	// enables TLS.
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// On reports whether TLS is asked for.
func (s *TLSSettings) On() bool { return s.Enabled || s.CA != "" || s.Cert != "" || s.Key != "" }

// Check reports what is wrong, without reading a file.
func (s *TLSSettings) Check() error {
	if (s.Cert == "") != (s.Key == "") {
		return errors.New("tls: cert and key belong together")
	}
	return nil
}

// Secured is TLS from version 1.2 on that trusts the PEM roots in a file, those of the system when ca is "".
func Secured(ca string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no PEM certificate", ca)
	}
	return c, nil
}

// Config reads the files; nil when no TLS is asked for.
func (s *TLSSettings) Config() (*tls.Config, error) {
	if !s.On() {
		return nil, nil
	}
	c, err := Secured(s.CA)
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
