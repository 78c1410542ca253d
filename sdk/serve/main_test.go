package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func noEnv(string) string { return "" }

func TestRunRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t, nil)
	tests := []struct {
		name   string
		args   []string
		env    map[string]string
		status int
		want   string
	}{
		{"no address", nil, nil, 2, "give -listen or set TURNBUCKLE_PLUGIN_LISTEN"},
		{"unknown flag", []string{"-lisen", "x"}, nil, 2, "flag provided but not defined: -lisen"},
		{"stray argument", []string{"-listen", ":0", "x"}, nil, 2, `unexpected argument "x"`},
		{"bad variable", []string{"-listen", ":0"}, map[string]string{"TURNBUCKLE_PLUGIN_DRAIN": "soon"}, 2, `TURNBUCKLE_PLUGIN_DRAIN="soon"`},
		{"bad address", []string{"-listen", "x"}, nil, 1, "want unix:PATH"},
		{"bad mode", []string{"-listen", ":0", "-socket-mode", "rw"}, nil, 1, "want octal permissions"},
		{"certificate alone", []string{"-listen", ":0", "-tls-cert", file}, nil, 1, "both -tls-cert and -tls-key"},
		{"no certificate", []string{"-listen", ":0", "-tls-cert", file, "-tls-key", file}, nil, 1, "certificate " + file},
		{"no authorities", []string{"-listen", ":0", "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", file}, nil, 1, "no PEM certificate"},
		{"negative drain", []string{"-listen", ":0", "-drain", "-1s"}, nil, 1, "must not be negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			status := Run(t.Context(), &sdk.Plugin{Name: "p"}, tt.args, func(k string) string { return tt.env[k] }, &out)
			if status != tt.status || !strings.Contains(out.String(), tt.want) {
				t.Errorf("got status %d and\n%s\nwant %d, %q", status, out.String(), tt.status, tt.want)
			}
		})
	}
}

func TestRunExplains(t *testing.T) {
	p := one("Greet", nil)
	var help, version strings.Builder
	if status := Run(t.Context(), p, []string{"-help"}, noEnv, &help); status != 0 {
		t.Errorf("-help: status %d", status)
	}
	for _, want := range []string{"p 1.2.3 is a plugin server", "-listen address", "TURNBUCKLE_PLUGIN_TLS_CLIENT_CA", "(default 10s)", "Greet"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("-help does not say %q:\n%s", want, help.String())
		}
	}
	if status := Run(t.Context(), p, []string{"-version"}, noEnv, &version); status != 0 || version.String() != "p 1.2.3\n" {
		t.Errorf("-version: status %d, %q", status, version.String())
	}
}

// TestRunServes runs a plugin the way its main does, over mutual TLS, with its address from the environment.
func TestRunServes(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	authority := newAuthority(t)
	cert, key := certificate(t, authority)
	clientCert, clientKey := certificate(t, authority)
	addr := "unix:" + filepath.Join(t.TempDir(), "s") // nobody else can take it, as they could a port that is free now
	env := map[string]string{"TURNBUCKLE_PLUGIN_LISTEN": addr, "TURNBUCKLE_PLUGIN_TLS_CERT": cert, "TURNBUCKLE_PLUGIN_TLS_KEY": key}

	ctx, cancel := context.WithCancel(t.Context())
	out, status := &lines{}, make(chan int, 1)
	args := []string{"-tls-client-ca", authority.file}
	go func() { status <- Run(ctx, one("H", nil), args, func(k string) string { return env[k] }, out) }()

	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	for name, config := range map[string]*tls.Config{
		"with certificate": {RootCAs: roots, ServerName: "plugin.test", Certificates: []tls.Certificate{pair}},
		"without":          {RootCAs: roots, ServerName: "plugin.test"},
	} {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
		if err != nil {
			t.Fatal(err)
		}
		// The server may not listen yet: gRPC waits. Without certificate it goes on waiting: then for a second only.
		limit := 30 * time.Second
		if name == "without" {
			limit = time.Second
		}
		call, done := context.WithTimeout(t.Context(), limit)
		_, err = pluginv1.NewPluginClient(conn).Describe(call, &pluginv1.DescribeRequest{}, grpc.WaitForReady(true))
		done()
		_ = conn.Close()
		if (err == nil) != (name == "with certificate") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cancel()
	if got := <-status; got != 0 || !strings.Contains(out.String(), "msg=serving plugin=p version=1.2.3") {
		t.Errorf("got status %d and\n%s", got, out.String())
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, writePEM(t, "CERTIFICATE", der)}
}

// certificate writes a certificate for plugin.test and its key to files; without authority, of a new one.
func certificate(t *testing.T, a *authority) (certFile, keyFile string) {
	if a == nil {
		a = newAuthority(t)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"plugin.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", der), writePEM(t, "PRIVATE KEY", private)
}

func writePEM(t *testing.T, kind string, der []byte) string {
	f, err := os.CreateTemp(t.TempDir(), "*.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: kind, Bytes: der}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
