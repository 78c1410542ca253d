package remote

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// link is a connection that is made when there is something to send, and anew after it failed. One goroutine uses it.
type link struct {
	network, address string
	tls              *tls.Config // nil: none
	frame            func([]byte) [][]byte
	conn             net.Conn
}

// sendTimeout bounds connecting, and sending one message.
const sendTimeout = 5 * time.Second

func newLink(c config.LogTarget) (*link, error) {
	u, err := url.Parse(c.Address)
	if err != nil {
		return nil, fmt.Errorf("log target: %w", err)
	}
	l := &link{network: u.Scheme, address: u.Host}
	switch u.Scheme {
	case "unix":
		l.network, l.address = "unixgram", u.Path
	case "tls":
		l.network = "tcp"
		l.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("log target: ca_file: %w", err)
			}
			l.tls.RootCAs = x509.NewCertPool()
			if !l.tls.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("log target: ca_file: %s holds no PEM certificate", c.CAFile)
			}
		}
	}
	l.frame = framing(c.Type, l.network)
	return l, nil
}

// framing is how messages are told apart: datagrams as they are, those of GELF in chunks; on streams as each protocol has
// it.
func framing(t config.LogTargetType, network string) func([]byte) [][]byte {
	switch {
	case network != "tcp" && t == config.LogGELF:
		return chunks
	case network != "tcp":
		return func(m []byte) [][]byte { return [][]byte{m[:min(len(m), maxDatagram)]} }
	case t == config.LogSyslog: // octet counting (RFC 6587 §3.4.1)
		return func(m []byte) [][]byte { return [][]byte{append([]byte(strconv.Itoa(len(m))+" "), m...)} }
	case t == config.LogGELF:
		return func(m []byte) [][]byte { return [][]byte{append(m, 0)} }
	}
	return func(m []byte) [][]byte { return [][]byte{append(m, '\n')} }
}

const (
	maxDatagram = 8192
	chunkSize   = 1420 // of GELF over UDP, so that no packet is divided
	maxChunks   = 128
)

// chunks divides a GELF message: magic, an id, the number of the chunk and of all.
func chunks(m []byte) [][]byte {
	if len(m) <= chunkSize {
		return [][]byte{m}
	}
	const head = 12
	size := chunkSize - head
	n := (len(m) + size - 1) / size
	if n > maxChunks {
		return nil // Graylog takes no more: it is dropped
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	all := make([][]byte, n)
	for i := range all {
		part := m[i*size : min(len(m), (i+1)*size)]
		all[i] = append(append(append([]byte{0x1e, 0x0f}, id[:]...), byte(i), byte(n)), part...)
	}
	return all
}

// send sends one message, over a connection that it makes if there is none.
func (l *link) send(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if l.conn == nil {
		conn, err := l.dial(ctx)
		if err != nil {
			return err
		}
		l.conn = conn
	}
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := l.conn.SetWriteDeadline(deadline)
	for _, f := range l.frame(message) {
		if err == nil {
			_, err = l.conn.Write(f)
		}
	}
	if err != nil {
		stop()
		l.close()
	}
	return err
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, l.network, l.address)
	if err != nil || l.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, l.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

func (l *link) close() {
	if l.conn != nil {
		_ = l.conn.Close() // what was written is on its way, or lost
		l.conn = nil
	}
}
