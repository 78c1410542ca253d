package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCert writes a certificate that signs itself, and its key.
func writeCert(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"gateway.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
}

// TestTLS: HTTP/2 and HTTP/1.1 over TLS, nothing below 1.2, certificates that are read again when their files change,
// while what is open goes on.
func TestTLS(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n"}, map[string]string{"UP": up.address})
	writeCert(t, dir, 1)
	g := startGateway(t, dir, nil, "--tls-cert", "cert.pem", "--tls-key", "key.pem")
	if got := ask(t, g.url+"/a/x"); !strings.HasPrefix(got, "HTTP/2.0 200") || !strings.Contains(got, "X-Forwarded-Proto: https") {
		t.Errorf("got %s", got)
	}
	if got := serial(t, g.address); got != 1 {
		t.Errorf("got certificate %d, want 1", got)
	}
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", g.address, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 was accepted")
	}
	begun := make(chan string, 1)
	go func() { begun <- ask(t, g.url+"/a/hold/tls") }()
	mustAwait(t, up, "holding tls")
	writeCert(t, dir, 2)
	if err := g.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the new certificate", func() bool { return serial(t, g.address) == 2 })
	writeCert(t, dir, 3)
	until(t, "the new certificate, unasked", func() bool { return serial(t, g.address) == 3 })
	write(t, filepath.Join(dir, "cert.pem"), "torn")
	if err := g.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	mustAwait(t, g.process, "level=(ERROR|WARN).*cert")
	if got := serial(t, g.address); got != 3 {
		t.Errorf("got certificate %d, want 3: the new file is torn", got)
	}
	release(t, up, "tls")
	if got := <-begun; statusOf(got) != "200" {
		t.Errorf("a request across the change: %s", got)
	}
}

// TestControlListenerTLS: the control listener takes up new certificates too, and tells of the gateway meanwhile.
func TestControlListenerTLS(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\n"}, nil)
	writeCert(t, dir, 1)
	g := startGateway(t, dir, []string{"TURNBUCKLE_ADMIN_TLS_CERT=cert.pem", "TURNBUCKLE_ADMIN_TLS_KEY=key.pem"})
	if got := serial(t, g.process.admin); got != 1 {
		t.Errorf("got certificate %d, want 1", got)
	}
	writeCert(t, dir, 2)
	until(t, "the new certificate", func() bool { return serial(t, g.process.admin) == 2 })
	if got := ask(t, "-H", "Authorization: Bearer "+secret, "https://"+g.process.admin+"/v1/routes"); statusOf(got) != "200" {
		t.Errorf("got %s", got)
	}
}

func serial(t *testing.T, address string) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// TestPluginTLS: mutual TLS to a plugin server; without the right certificates its hooks are unavailable.
func TestPluginTLS(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/good.yaml":  "listen: {path: /good}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{server: good, hook: Trail, timeout: 15s}]}\n",
		"apis/plain.yaml": "listen: {path: /plain}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{server: plain, hook: Trail, timeout: 15s}]}\n",
		"apis/wrong.yaml": "listen: {path: /wrong}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{server: wrong, hook: Trail, timeout: 15s}]}\n",
		"turnbuckle.yaml": `servers:
  good: {address: "unix:p.sock", tls: {ca: cert.pem, cert: cert.pem, key: key.pem, server_name: gateway.test}}
  plain: {address: "unix:p.sock"}
  wrong: {address: "unix:p.sock", tls: {ca: cert.pem, cert: cert.pem, key: key.pem, server_name: else.test}}
`,
	}, map[string]string{"UP": up.address})
	writeCert(t, dir, 1)
	start(t, dir, environment(), "plugin", "-listen", "unix:p.sock", "-tls-cert", "cert.pem", "-tls-key", "key.pem", "-tls-client-ca", "cert.pem")
	g := startGateway(t, dir, nil)
	for path, want := range map[string]string{"/good": "200", "/plain": "503", "/wrong": "503"} {
		if got := ask(t, g.url+path); statusOf(got) != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
