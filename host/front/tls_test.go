package front

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pair returns certificate and key, in PEM, for a name.
func (a *authority) pair(name string) (cert, key []byte) {
	a.t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	_, k, cert := a.sign(c)
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// files writes a pair and returns where.
func (a *authority) files(dir, name string) (cert, key string) {
	a.t.Helper()
	c, k := a.pair(name)
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writeFile(a.t, cert, c)
	writeFile(a.t, key, k)
	return cert, key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// secureClient connects to f whatever the URL says, trusting a.
func secureClient(t *testing.T, f *Front, config *tls.Config, two bool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(!two)
	tr.Protocols.SetHTTP2(two)
	d := net.Dialer{Timeout: bounded}
	tr.DialContext = d.DialContext
	tr.Proxy = nil
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: rewritten{tr, f.Addr().String()}, Timeout: bounded}
}

// rewritten sends every request to one address.
type rewritten struct {
	to   *http.Transport
	addr string
}

func (r rewritten) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Host, req.URL.Host = req.URL.Host, r.addr
	return r.to.RoundTrip(req)
}

func secured(t *testing.T, names ...string) (*authority, *TLSOptions) {
	t.Helper()
	ca, o, dir := newAuthority(t, "ca"), &TLSOptions{}, t.TempDir()
	for _, n := range names {
		c, k := ca.files(dir, n)
		o.CertFiles, o.KeyFiles = append(o.CertFiles, c), append(o.KeyFiles, k)
	}
	return ca, o
}

func TestTLS(t *testing.T) {
	ca, o := secured(t, "a.example", "b.example")
	f := start(t, Options{TLS: o}, func(f *flow.Flow) {
		r := f.X.Request()
		reply(f, 200, fmt.Sprintf("%s %s %s %d %s", r.Proto(), r.Scheme(), f.Out.ForwardedProto, f.TLS.Version, f.TLS.ServerName))
	})
	for _, two := range []bool{false, true} {
		for _, name := range []string{"a.example", "b.example"} {
			resp := get(t, secureClient(t, f, &tls.Config{RootCAs: ca.pool(), ServerName: name}, two), "https://"+name+"/")
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[two]
			if want := proto + " https https 772 " + name; string(b) != want || err != nil {
				t.Errorf("got %q, %v, want %q", b, err, want)
			}
			if got := resp.TLS.PeerCertificates[0].Subject.CommonName; got != name {
				t.Errorf("certificate of %s for %s", got, name)
			}
		}
	}
	if _, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 accepted")
	}
	// A name nobody has a certificate for gets the first.
	c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "c.example", NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "a.example" {
		t.Errorf("certificate of %s", got)
	}
	// The guard reads along under TLS too, and h2c's preface is none there.
	send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+victim)
	if b, err := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") || strings.Count(string(b), "HTTP/1.1") != 1 {
		t.Errorf("got %q, %v", b, err)
	}
	_ = c.Close()
	if got := ask(t, f, victim); !strings.HasPrefix(got, "HTTP/1.0 400 ") {
		t.Errorf("HTTP on the HTTPS port: %q", got)
	}
}

func TestTLSHandshakeTimeout(t *testing.T) {
	_, o := secured(t, "a.example")
	f := start(t, Options{TLS: o, HeaderTimeout: 30 * time.Millisecond}, echoTarget)
	if b, err := io.ReadAll(dial(t, f)); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v, want the connection closed", b, err)
	}
}

func TestTLSHijack(t *testing.T) {
	_, o := secured(t, "a.example")
	f := start(t, Options{TLS: o}, func(f *flow.Flow) { tunnel(t, f, "hello ", func() {}) })
	c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(bounded))
	send(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nworld")
	_ = c.CloseWrite()
	b, err := io.ReadAll(c)
	if !strings.HasPrefix(string(b), "HTTP/1.1 101 ") || !strings.HasSuffix(string(b), "\r\n\r\nhello world") || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestTLSAndProxyProtocol(t *testing.T) {
	_, o := secured(t, "a.example")
	f := start(t, Options{TLS: o, ProxyProtocol: true, TrustedProxies: prefixes("127.0.0.0/8")}, whoAsks)
	raw := dial(t, f)
	send(t, raw, proxyHeaderV1)
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	send(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(c); !strings.HasSuffix(string(b), "9.8.7.6 https|9.8.7.6|h|https") || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

const proxyHeaderV1 = "PROXY TCP4 9.8.7.6 5.5.5.5 5432 80\r\n"

func TestClientCertificates(t *testing.T) {
	ca, o := secured(t, "a.example")
	other := newAuthority(t, "other")
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, caFile, ca.pem)
	load := func(from *authority) []tls.Certificate {
		if from == nil {
			return nil
		}
		c, k := from.pair("client")
		pair, err := tls.X509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	tests := []struct {
		name    string
		caFile  string
		require bool
		client  *authority
		want    string // "" for a refused handshake
	}{
		{"none", "", false, nil, "0"},
		{"unverified", "", false, other, "1 client"},
		{"any required", "", true, other, "1 client"},
		{"any required, none", "", true, nil, ""},
		{"verified", caFile, false, ca, "1 client"},
		{"verified, none", caFile, false, nil, "0"},
		{"of another authority", caFile, false, other, ""},
		{"required", caFile, true, ca, "1 client"},
		{"required, none", caFile, true, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := *o
			o.ClientCAFile, o.RequireClientCert = test.caFile, test.require
			f := start(t, Options{TLS: &o}, func(f *flow.Flow) {
				certs := f.X.PeerCertificates()
				s := fmt.Sprint(len(certs))
				if len(certs) > 0 {
					s += " " + certs[0].Subject.CommonName
				}
				reply(f, 200, s)
			})
			certs := load(test.client)
			config := &tls.Config{RootCAs: ca.pool(), ServerName: "a.example"}
			if certs != nil { // presented whatever authorities the server names
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
			}
			resp, err := secureClient(t, f, config, false).Get("https://a.example/")
			if err != nil {
				if test.want != "" {
					t.Error(err)
				}
				return
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(b) != test.want {
				t.Errorf("got %q, want %q", b, test.want)
			}
		})
	}
}

// served returns the serial of the certificate a handshake gets.
func servedSerial(t *testing.T, f *Front) string {
	t.Helper()
	c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestCertificateReload(t *testing.T) {
	var log logged
	ca, o := secured(t, "a.example")
	f := start(t, Options{TLS: o, Logger: log.logger()}, echoTarget)
	look := func() string { // as if a second had passed
		f.certificates.next.Store(0)
		return servedSerial(t, f)
	}
	first := look()
	if again := look(); again != first {
		t.Error("another certificate without a change")
	}
	cert, key := ca.pair("a.example")
	writeFile(t, o.CertFiles[0], cert) // the key is still the old one
	for range 2 {                      // the second look meets the failure that the first one noted
		if look() != first {
			t.Error("a half-written pair is used")
		}
	}
	if n := strings.Count(log.String(), "cannot be used"); n != 1 {
		t.Errorf("reported %d times, want once:\n%s", n, log.String())
	}
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), o.CertFiles[0]) {
		t.Errorf("reload: %v", err)
	}
	writeFile(t, o.KeyFiles[0], key)
	second := look()
	if second == first {
		t.Error("the new pair is not used")
	}
	if err := os.Remove(o.KeyFiles[0]); err != nil {
		t.Fatal(err)
	}
	if look() != second {
		t.Error("a missing key took the certificate away")
	}
	cert, key = ca.pair("a.example")
	writeFile(t, o.CertFiles[0], cert)
	writeFile(t, o.KeyFiles[0], key)
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
	if servedSerial(t, f) == second {
		t.Error("Reload did not")
	}
}

// Handshakes under way when the front stops end at once.
func TestShutdownDuringHandshake(t *testing.T) {
	_, o := secured(t, "a.example")
	f := start(t, Options{TLS: o, HeaderTimeout: -1}, echoTarget)
	c := dial(t, f)
	send(t, c, "\x16\x03\x01") // half a record's header
	ok := dial(t, f)
	s := tls.Client(ok, &tls.Config{InsecureSkipVerify: true})
	send(t, s, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	receive(t, bufio.NewReader(s), "GET")
	if err := f.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the connection closed", err)
	}
}

// A configuration for other listeners keeps up with its files too, and asks clients for nothing.
func TestServerTLS(t *testing.T) {
	ca, o := secured(t, "a.example")
	config, err := ServerTLS(*o, (&logged{}).logger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	serial := func() (serial string) {
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			if c, err := l.Accept(); err == nil {
				_ = c.(*tls.Conn).HandshakeContext(t.Context())
				_ = c.Close()
			}
		}()
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				t.Error("asked for a certificate")
				return &tls.Certificate{}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		<-accepted
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	cert, key := ca.pair("a.example")
	writeFile(t, o.CertFiles[0], cert)
	writeFile(t, o.KeyFiles[0], key)
	deadline := time.After(bounded)
	for serial() == first { // until the next look at the files, a second after the last
		select {
		case <-deadline:
			t.Fatal("the new certificate is not used")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if _, err := ServerTLS(TLSOptions{CertFiles: []string{"/none"}, KeyFiles: []string{"/none"}}, nil); err == nil {
		t.Error("no error for a missing file")
	}
}
