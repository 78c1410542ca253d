package front

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificates holds the TLS configuration that the files describe and keeps up with them: a handshake that finds the
// last look a second old looks again at sizes and times, and reads the files when they changed. What cannot be used is
// reported once, and the configuration before it stays.
type certificates struct {
	options *TLSOptions
	clients bool // ask for their certificates
	logger  *slog.Logger
	current atomic.Pointer[tls.Config]
	next    atomic.Int64 // when to look again, in Unix nanoseconds

	mu     sync.Mutex
	stamps []os.FileInfo // of the files when last read
}

func newCertificates(o *TLSOptions, clients bool, logger *slog.Logger) (*certificates, error) {
	c := &certificates{options: o, clients: clients, logger: logger}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// config returns the configuration for a handshake.
func (c *certificates) config() *tls.Config {
	now := time.Now()
	if now.UnixNano() >= c.next.Load() && c.mu.TryLock() {
		c.next.Store(now.Add(certificateCheckEvery).UnixNano())
		if c.changed() {
			if err := c.read(); err != nil {
				c.logger.Error("new certificates cannot be used, the old ones stay", "error", err)
			} else {
				c.logger.Info("certificates read again")
			}
		}
		c.mu.Unlock()
	}
	return c.current.Load()
}

// reload reads the files whether they changed or not.
func (c *certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next.Store(time.Now().Add(certificateCheckEvery).UnixNano())
	return c.read()
}

func (c *certificates) files() []string {
	files := append(append([]string(nil), c.options.CertFiles...), c.options.KeyFiles...)
	if c.options.ClientCAFile != "" {
		files = append(files, c.options.ClientCAFile)
	}
	return files
}

// stat describes the files; nil for one that is not there.
func (c *certificates) stat() []os.FileInfo {
	files := c.files()
	stamps := make([]os.FileInfo, len(files))
	for i, name := range files {
		if info, err := os.Stat(name); err == nil {
			stamps[i] = info
		}
	}
	return stamps
}

func (c *certificates) changed() bool {
	for i, now := range c.stat() {
		then := c.stamps[i]
		if (now == nil) != (then == nil) {
			return true
		}
		if now != nil && (now.Size() != then.Size() || !now.ModTime().Equal(then.ModTime()) || !os.SameFile(now, then)) {
			return true
		}
	}
	return false
}

// read reads the files. Their stamps are taken before, so that a change meanwhile is seen at the next look, and kept
// whatever comes of it, so that a failure is reported once.
func (c *certificates) read() error {
	c.stamps = c.stat()
	o := c.options
	config := &tls.Config{
		MinVersion: max(o.MinVersion, tls.VersionTLS12),
		NextProtos: []string{"h2", "http/1.1"},
	}
	if c.clients {
		config.ClientAuth = tls.RequestClientCert
	}
	for i := range o.CertFiles {
		pair, err := tls.LoadX509KeyPair(o.CertFiles[i], o.KeyFiles[i])
		if err != nil {
			return fmt.Errorf("front: certificate %s with key %s: %w", o.CertFiles[i], o.KeyFiles[i], err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	if o.RequireClientCert {
		config.ClientAuth = tls.RequireAnyClientCert
	}
	if o.ClientCAFile != "" {
		pem, err := os.ReadFile(o.ClientCAFile)
		if err != nil {
			return fmt.Errorf("front: client certificates' roots: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("front: client certificates' roots: %w", errors.New(o.ClientCAFile+" holds no PEM certificate"))
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
		if o.RequireClientCert {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	c.current.Store(config)
	return nil
}
