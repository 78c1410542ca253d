package handshake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// serverName is what both sides' certificates are for, wherever the plugin listens.
const serverName = "localhost"

// Certificate is one side's, made for one start of a plugin, with its key. Each side accepts no other than the one that
// it was shown in the handshake.
type Certificate struct{ own tls.Certificate }

// NewCertificate makes one. It signs itself, as an authority does: that is how peers come to accept it alone.
func NewCertificate() (*Certificate, error) {
	fail := func(err error) (*Certificate, error) { return nil, fmt.Errorf("make a certificate: %w", err) }
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fail(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: serverName, Organization: []string{"Turnbuckle"}},
		DNSNames:     []string{serverName},
		// A process may run for years; the certificate is as good as it is.
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(30, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	return &Certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// PEM is the certificate as a host hands it to a plugin.
func (c *Certificate) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.own.Certificate[0]})
}

// Line is the certificate as a plugin hands it to a host, on one line.
func (c *Certificate) Line() string {
	return base64.RawStdEncoding.EncodeToString(c.own.Certificate[0])
}

// Server is a plugin's TLS towards the host whose certificate is in the PEM text.
func (c *Certificate) Server(host []byte) (*tls.Config, error) {
	clients, err := pool(host)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.own},
		ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// Client is a host's TLS towards the plugin that said this on its line.
func (c *Certificate) Client(line string) (*tls.Config, error) {
	der, err := base64.RawStdEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("certificate of the plugin: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the plugin: %w", err)
	}
	servers := x509.NewCertPool()
	servers.AddCert(cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.own}, RootCAs: servers, ServerName: serverName,
	}, nil
}
