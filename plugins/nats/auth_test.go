package nats

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who says wrongly who they are waits, is told why, and tells nobody the secret; who says it rightly delivers.
func TestAuth(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	otherSeed, err := other.Seed()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	right, wrong := write(t, dir, "right.nk", seed), write(t, dir, "wrong.nk", otherSeed)
	for _, test := range []struct{ name, server, right, wrong, want string }{
		{"password", `authorization {user: edge, password: right-s3cret}`, `,"user":"edge","password":"right-s3cret"`, `,"user":"edge","password":"wrong-s3cret"`, "authorization violation"},
		{"token", `authorization {token: right-s3cret}`, `,"token":"right-s3cret"`, `,"token":"wrong-s3cret"`, "authorization violation"},
		{"nkey", fmt.Sprintf(`authorization {users: [{nkey: %s}]}`, public), fmt.Sprintf(`,"nkey":%q`, right), fmt.Sprintf(`,"nkey":%q`, wrong), "authorization violation"},
		{"permission", `authorization {users: [{user: edge, password: x}, {user: lookout, password: x, permissions: {publish: ["$JS.>"]}}]}`, `,"user":"edge","password":"x"`, `,"user":"lookout","password":"x"`, "permissions violation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, test.server)
			log, said := shiptest.Log()
			p := open(t, s.url(), create+test.wrong, sdk.Host{Dir: t.TempDir(), Log: log})
			shiptest.Ship(t, p, 0, 10)
			shiptest.Until(t, "an outage", is(p, "up", 0))
			end(t, p)
			if !strings.Contains(strings.ToLower(said()), test.want) || strings.Contains(said(), "s3cret") {
				t.Error(said())
			}
			p = open(t, s.url(), create+test.right, sdk.Host{Dir: t.TempDir()})
			shiptest.Ship(t, p, 0, 10)
			shiptest.Until(t, "all", is(p, "delivered", 10))
			end(t, p)
		})
	}
}

// issue writes a certificate for the loopback interface, signed by itself, and its key.
func issue(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, dir, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		write(t, dir, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// A server that asks for a client's certificate, and one whose own is not trusted.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serverCert, serverKey := issue(t, dir, "server")
	cert, key := issue(t, dir, "client")
	s := newServer(t, fmt.Sprintf("tls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}", serverCert, serverKey, cert))
	log, said := shiptest.Log()
	p := open(t, s.url(), create, sdk.Host{Dir: t.TempDir(), Log: log})
	shiptest.Ship(t, p, 0, 10)
	shiptest.Until(t, "an outage", is(p, "up", 0))
	end(t, p)
	if !strings.Contains(said(), "certificate") {
		t.Error(said())
	}
	p = open(t, s.url(), fmt.Sprintf(`%s,"tls":{"ca":%q,"cert":%q,"key":%q}`, create, serverCert, cert, key), sdk.Host{Dir: t.TempDir()})
	shiptest.Ship(t, p, 0, 10)
	shiptest.Until(t, "all", is(p, "delivered", 10))
	end(t, p)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	js := s.as(client.Secure(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})) //nolint:gosec // the test reads what it wrote
	seen, _ := stored(t, js, func(*client.Msg) {})
	seen.Check(t, 0, 10)
}
