package rpc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// authority is a certificate authority of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) issue(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) certificate(name string) tls.Certificate {
	cert, key := a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func TestMutualTLS(t *testing.T) {
	noLeaks(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	startPlugin(t, markPlugin(), l, serve.Options{TLS: &tls.Config{
		Certificates: []tls.Certificate{ours.certificate("plugin.test")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(), MinVersion: tls.VersionTLS12,
	}})
	// The server's alert may be overtaken by the end of the connection, so there is no saying which is reported.
	const refused = "plugin unavailable"
	us := []tls.Certificate{ours.certificate("gateway.test")}
	for _, tt := range []struct {
		name string
		o    rpc.Options
		why  string // part of the error; "": it works
	}{
		{"right", rpc.Options{TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us, ServerName: "plugin.test"}}, ""},
		{"name from authority", rpc.Options{Authority: "plugin.test", TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us}}, ""},
		{"name from address", rpc.Options{TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us}}, "127.0.0.1"},
		{"another name", rpc.Options{TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us, ServerName: "other.test"}}, "plugin.test, not other.test"},
		{"unknown authority", rpc.Options{TLS: &tls.Config{RootCAs: theirs.pool(), Certificates: us, ServerName: "plugin.test"}}, "unknown authority"},
		{"no certificate of ours", rpc.Options{TLS: &tls.Config{RootCAs: ours.pool(), ServerName: "plugin.test"}}, refused},
		{"a stranger's certificate", rpc.Options{TLS: &tls.Config{
			RootCAs: ours.pool(), Certificates: []tls.Certificate{theirs.certificate("gateway.test")}, ServerName: "plugin.test",
		}}, refused},
		{"in the clear", rpc.Options{}, ""},
		{"Tyk's protocol", rpc.Options{
			Protocol: rpc.Tyk, TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us, ServerName: "plugin.test"},
		}, ""},
		{"Tyk's protocol, another name", rpc.Options{
			Protocol: rpc.Tyk, TLS: &tls.Config{RootCAs: ours.pool(), Certificates: us, ServerName: "other.test"},
		}, "plugin.test, not other.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Address, tt.o.RetryEvery = "tcp://"+l.Addr().String(), 50*time.Millisecond
			s := open(t, tt.o)
			if tt.why == "" && tt.o.TLS != nil {
				await(t, s)
				if _, err := call(t.Context(), t, s, "Mark"); err != nil {
					t.Error(err)
				}
				return
			}
			until(t, "the reason", func() bool {
				st := s.Status()[0]
				return st.State == rpc.StateDown && strings.Contains(st.Error, tt.why)
			})
			if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
		})
	}
}
