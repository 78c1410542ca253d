package main

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"testing"
	"time"
)

// proxyV2 is a header of PROXY protocol version 2 as the specification of HAProxy lays it out (§2.2).
func proxyV2(command, family byte, addresses []byte) string {
	head := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return string(append(binary.BigEndian.AppendUint16(head, uint16(len(addresses))), addresses...))
}

// tcp are the addresses of a version 2 header, source before destination.
func tcp(source, destination string) []byte {
	s, d := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	b := append(s.Addr().AsSlice(), d.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, s.Port()), d.Port())
}

// from sends bytes from a local address and returns what comes until the peer closes. A peer that resets has closed.
func from(t *testing.T, local, address string, secure bool, head, text string) string {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	_, _ = io.WriteString(c, text) // who is refused may have closed before
	reply, err := io.ReadAll(c)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as net returns it
		t.Errorf("the connection stays open, with %q", reply)
	}
	return string(reply)
}

// TestProxyProtocol: the client's address comes from the PROXY header of a trusted proxy, in both versions; a stranger's
// header is no HTTP, and its own address is the client's. A trusted proxy has to send one.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/a.yaml":      "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n",
		"apis/inside.yaml": "listen: {path: /inside}\nupstream: {url: \"http://${UP}\"}\nip: {allow: [203.0.113.0/24]}\n",
	}, map[string]string{"UP": up.address})
	writeCert(t, dir, 1)
	env := []string{"TURNBUCKLE_LISTEN_PROXY_PROTOCOL=true"}
	clear := startGateway(t, dir, env, "--trusted-proxies", "127.0.0.1/32")
	own := append(env, "TURNBUCKLE_STORE_PATH=second") // each gateway with a control listener has a store
	secure := startGateway(t, dir, own, "--trusted-proxies", "127.0.0.1/32", "--tls-cert", "cert.pem", "--tls-key", "key.pem")

	const get = "GET /a/x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n"
	const inside = "GET /inside/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	const trusted, stranger = "127.0.0.1", "127.0.0.2"
	v4 := tcp("203.0.113.7:4711", "192.0.2.1:443")
	tests := []struct {
		name, local, head, text string
		status                  string // empty: the connection ends without a reply
		client                  string // as the upstream gets it
	}{
		{"version 1", trusted, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", get, "200", "203.0.113.7"},
		{"version 1, IPv6", trusted, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", get, "200", "2001:db8::7"},
		{"version 1, unknown", trusted, "PROXY UNKNOWN\r\n", get, "200", "127.0.0.1"},
		{"version 2", trusted, proxyV2(1, 0x11, v4), get, "200", "203.0.113.7"},
		{"version 2, IPv6", trusted, proxyV2(1, 0x21, tcp("[2001:db8::7]:4711", "[2001:db8::1]:443")), get, "200", "2001:db8::7"},
		{"version 2, a check of the proxy's own", trusted, proxyV2(0, 0, nil), get, "200", "127.0.0.1"},
		{"version 2, with more behind the addresses", trusted, proxyV2(1, 0x11, append(v4, 0x04, 0, 1, 'x')), get, "200", "203.0.113.7"},
		{"address rules see the client", trusted, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", inside, "200", "203.0.113.7"},
		{"and refuse another", trusted, "PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n", inside, "403", ""},
		{"no header", trusted, "", get, "", ""},
		{"a header that is none", trusted, "PROXY TCP4 203.0.113.7 nonsense\r\n", get, "", ""},
		{"a stranger without header", stranger, "", get, "200", "127.0.0.2"},
		{"a stranger's version 1", stranger, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n", get, "400", ""},
		{"a stranger's version 2", stranger, proxyV2(1, 0x11, v4), get, "400", ""},
	}
	for _, test := range tests {
		for _, g := range []*served{clear, secure} {
			overTLS := g == secure
			t.Run(fmt.Sprintf("%s, TLS %v", test.name, overTLS), func(t *testing.T) {
				got := from(t, test.local, g.address, overTLS, test.head, test.text)
				status := test.status
				if overTLS && status == "400" {
					status = "" // it is no handshake either
				}
				if statusOf(got) != status {
					t.Fatalf("got %q, want status %q", got, status)
				}
				told := regexp.MustCompile(`(?m)^up > X-Forwarded-For: (?:198\.51\.100\.1, )?` + regexp.QuoteMeta(test.client) + `$`)
				if test.client != "" && !told.MatchString(got) {
					t.Errorf("want the client %s: %s", test.client, got)
				}
			})
		}
	}
	for _, client := range []string{"203.0.113.7", "2001:db8::7", "127.0.0.2"} {
		if _, err := clear.Await(`"client":"\[?` + client + `\]?:`); err != nil {
			t.Error(err)
		}
	}
}
