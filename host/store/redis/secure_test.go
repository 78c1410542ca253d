package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// certificate makes one for 127.0.0.1 that vouches for itself.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(cert, text, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return cert, key, pool
}

// The whole suite over TLS, as a user with the rights that the package's comment names and no others.
func TestTLSAndUser(t *testing.T) {
	cert, key, pool := certificate(t)
	rules := "~test[[]* &test[[]* +@read +@write +@scripting +@pubsub +@transaction +@connection"
	server := redistest.Start(t, "port 0", "tls-port $PORT", "tls-cert-file "+cert, "tls-key-file "+key, "tls-auth-clients no",
		"user default off", "user gateway on >s3cret "+strings.ReplaceAll(rules, "[[]", "\\["))
	options := redis.Options{Addrs: []string{server.Addr}, Username: "gateway", Password: "s3cret", TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	conform(t, options)

	for name, change := range map[string]func(*redis.Options){
		"wrong password":      func(o *redis.Options) { o.Password = "wrong-one" },
		"another's keys":      func(o *redis.Options) { o.Prefix = "other:" },
		"unknown certificate": func(o *redis.Options) { o.TLS = &tls.Config{} },
		"no TLS":              func(o *redis.Options) { o.TLS = nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := options
			o.Prefix = "test["
			change(&o)
			s := open(t, o)
			_, err := s.Get(t.Context(), "k")
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wrong-one")) {
				t.Errorf("%v: names the password", err)
			}
			await(t, s, "unavailable with a reason", func(err error) bool {
				return errors.Is(err, store.ErrUnavailable) && !strings.Contains(err.Error(), "no answer yet")
			})
		})
	}
}

// told notes what a watcher was told; "*" is everything.
type told struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (w *told) watch(t testing.TB, s *redis.Store) {
	w.reset()
	t.Cleanup(s.Watch(func(c store.Change) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, key := range c.Keys {
			w.keys[key] = true
		}
		if c.All {
			w.keys["*"] = true
		}
	}))
}

func (w *told) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = map[string]bool{}
}

func (w *told) await(t testing.TB, key string) {
	t.Helper()
	redistest.Await(t, "word of "+key, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.keys[key]
	})
}
