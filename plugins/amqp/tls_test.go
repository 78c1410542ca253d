package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http/httptest"
	"strconv"
	"testing"

	rabbit "github.com/rabbitmq/amqp091-go"
)

// With amqps one TLS connection, to the name in the URL, carries AMQP, whatever the case of the scheme.
func TestTLS(t *testing.T) {
	t.Parallel()
	borrowed := httptest.NewTLSServer(nil) // for its certificate
	defer borrowed.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: borrowed.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	roots := x509.NewCertPool()
	roots.AddCert(borrowed.Certificate())
	heard := make(chan string)
	go func() {
		defer close(heard)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			const hello = 8
			b := make([]byte, hello)
			n, _ := io.ReadFull(c, b) // less of a client that trusts nobody
			_ = c.Close()
			heard <- string(b[:n])
		}
	}()
	for _, scheme := range []string{"amqps", "AMQPS"} {
		s, err := parse([]byte(`{"url":` + strconv.Quote(scheme+"://u:p@"+l.Addr().String()+"/v") + `}`))
		if err != nil {
			t.Fatal(err)
		}
		for want, config := range map[string]*tls.Config{"AMQP\x00\x00\x09\x01": {RootCAs: roots}, "": {}} {
			k := &sink{s: s, tls: config}
			sent := make(chan error, 1)
			go func() { _, err := k.Send(t.Context(), nil); sent <- err }()
			if got := <-heard; got != want {
				t.Errorf("%s: heard %q, want %q", scheme, got, want)
			}
			if err := <-sent; err == nil {
				t.Error("a broker that hung up took something")
			}
			if err := k.Close(); err != nil && !errors.Is(err, rabbit.ErrClosed) {
				t.Error(err)
			}
			if config.ServerName != "" {
				t.Error("the configuration is not ours to change")
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-heard
}
