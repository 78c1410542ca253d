package front

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestForwardedFor(t *testing.T) {
	private := []string{"10.0.0.0/8", "fd00::/8"}
	tests := []struct {
		name    string
		trusted []string
		depth   int
		lines   []string
		want    string
	}{
		{"nothing", private, 0, nil, "10.0.0.1:99"},
		{"one", private, 0, []string{"1.2.3.4"}, "1.2.3.4:0"},
		{"rightmost that is not trusted", private, 0, []string{"6.6.6.6, 1.2.3.4, 10.0.0.2"}, "1.2.3.4:0"},
		{"forged left part", private, 0, []string{"127.0.0.1, 1.2.3.4"}, "1.2.3.4:0"},
		{"all trusted", private, 0, []string{"10.9.9.9, 10.0.0.2"}, "10.9.9.9:0"},
		{"several lines", private, 0, []string{"6.6.6.6", "1.2.3.4", "10.0.0.3,10.0.0.2"}, "1.2.3.4:0"},
		{"port", private, 0, []string{"1.2.3.4:5678"}, "1.2.3.4:5678"},
		{"IPv6", private, 0, []string{"2001:db8::1, fd00::2"}, "[2001:db8::1]:0"},
		{"IPv6 in brackets", private, 0, []string{"[2001:db8::1]"}, "[2001:db8::1]:0"},
		{"IPv6 with port", private, 0, []string{"[2001:db8::1]:80"}, "[2001:db8::1]:80"},
		{"zone", private, 0, []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		{"IPv4 in IPv6 is IPv4", private, 0, []string{"1.2.3.4, ::ffff:10.0.0.2"}, "1.2.3.4:0"},
		{"blanks and empty elements", private, 0, []string{" ,\t1.2.3.4 ,, 10.0.0.2\t,"}, "1.2.3.4:0"},
		{"empty lines", private, 0, []string{"", ","}, "10.0.0.1:99"},
		{"garbage ends the walk", private, 0, []string{"1.2.3.4, unknown, 10.0.0.2"}, "10.0.0.2:0"},
		{"garbage only", private, 0, []string{"_hidden"}, "10.0.0.1:99"},
		{"half an address", private, 0, []string{"1.2.3"}, "10.0.0.1:99"},
		{"brackets around IPv4", private, 0, []string{"[1.2.3.4]"}, "10.0.0.1:99"},
		{"bad port", private, 0, []string{"1.2.3.4:99999"}, "10.0.0.1:99"},
		{"unspecified", private, 0, []string{"0.0.0.0"}, "10.0.0.1:99"},
		{"very long", private, 0, []string{strings.Repeat("1", 5000)}, "10.0.0.1:99"},
		{"depth 1", private, 1, []string{"6.6.6.6, 1.2.3.4, 10.0.0.2"}, "10.0.0.2:0"},
		{"depth 2", private, 2, []string{"6.6.6.6, 1.2.3.4", "10.0.0.2"}, "1.2.3.4:0"},
		{"depth beyond", private, 9, []string{"6.6.6.6, 1.2.3.4"}, "6.6.6.6:0"},
		{"depth over garbage", private, 3, []string{"6.6.6.6, x, 1.2.3.4"}, "1.2.3.4:0"},
	}
	peer := netip.MustParseAddrPort("10.0.0.1:99")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := proxies{prefixes(test.trusted...), test.depth}
			if got := p.client(peer, test.lines).String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTrusts(t *testing.T) {
	p := proxies{prefixes: prefixes("10.0.0.0/8", "fd00::/8")}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00::1": true, "fd00::1%eth0": true, "11.0.0.1": false, "::1": false,
	} {
		if got := p.trusts(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if p.trusts(netip.Addr{}) || (&proxies{}).trusts(netip.MustParseAddr("10.0.0.1")) {
		t.Error("nobody is trusted without being named")
	}
}

// Whatever a header says: no panic, a valid address, and never one to the left of the first that is not trusted.
func FuzzForwardedFor(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.2", "", uint8(0))
	f.Add("[::1]:80,fe80::1%x", "6.6.6.6:1", uint8(2))
	f.Add(",,,", "\"1.2.3.4\"", uint8(0))
	f.Fuzz(func(t *testing.T, first, second string, depth uint8) {
		peer := netip.MustParseAddrPort("10.0.0.1:99")
		p := proxies{prefixes("10.0.0.0/8"), int(depth)}
		got := p.client(peer, []string{first, second})
		if !got.IsValid() || got.Addr().Zone() != "" || got.Addr().Is4In6() {
			t.Errorf("%q, %q: %v", first, second, got)
		}
		p.depth = 0
		if got := p.client(peer, []string{first, second + ", 1.2.3.4"}); got.String() != "1.2.3.4:0" {
			t.Errorf("%q, %q before an untrusted address: %v", first, second, got)
		}
		_ = forwardedHost([]string{first})
		if s := forwardedProto([]string{first}); s != "" && s != "http" && s != "https" {
			t.Errorf("%q is scheme %q", first, s)
		}
		if s := appendedFor([]string{first, second}, "10.0.0.1"); !strings.HasSuffix(s, "10.0.0.1") {
			t.Errorf("%q, %q appended: %q", first, second, s)
		}
	})
}

// whoAsks answers with all that the front found out about the way a request came.
func whoAsks(f *flow.Flow) {
	o := &f.Out
	addr := f.X.ClientAddr().Addr()
	reply(f, 200, fmt.Sprintf("%s %s|%s|%s|%s", addr, f.X.Request().Scheme(), o.ForwardedFor, o.ForwardedHost, o.ForwardedProto))
}

const forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: f.example\r\n"

func TestForwardedFields(t *testing.T) {
	tests := []struct{ name, trusted, fields, want string }{
		{"nothing claimed", "", "", "127.0.0.1 http|127.0.0.1|h|http"},
		{"forged by an untrusted peer", "10.0.0.0/8", forged, "127.0.0.1 http|6.6.6.6, 1.2.3.4, 127.0.0.1|h|http"},
		{"said by a trusted peer", "127.0.0.0/8", forged, "1.2.3.4 https|6.6.6.6, 1.2.3.4, 127.0.0.1|f.example|https"},
		{"nonsense by a trusted peer", "127.0.0.0/8", "X-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\nX-Forwarded-For: ?\r\n", "127.0.0.1 http|?, 127.0.0.1|h|http"},
		{"empty", "127.0.0.0/8", "X-Forwarded-For:\r\nX-Forwarded-Host:\r\n", "127.0.0.1 http|127.0.0.1|h|http"},
		{"the first of several", "127.0.0.0/8", "X-Forwarded-Proto: WSS, http\r\nX-Forwarded-Host: a.example, b.example\r\n", "127.0.0.1 https|127.0.0.1|a.example|https"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := Options{}
			if test.trusted != "" {
				o.TrustedProxies = prefixes(test.trusted)
			}
			f := start(t, o, whoAsks)
			c := dial(t, f)
			send(t, c, "GET / HTTP/1.1\r\nHost: h\r\n"+test.fields+"\r\n")
			if _, body := receive(t, bufio.NewReader(c), "GET"); body != test.want {
				t.Errorf("got %q, want %q", body, test.want)
			}
		})
	}
}

func proxyHeader(t *testing.T, version byte, command proxyproto.ProtocolVersionAndCommand) string {
	t.Helper()
	h := &proxyproto.Header{
		Version: version, Command: command, TransportProtocol: proxyproto.TCPv4,
		SourceAddr:      &net.TCPAddr{IP: net.IPv4(9, 8, 7, 6), Port: 5432},
		DestinationAddr: &net.TCPAddr{IP: net.IPv4(5, 5, 5, 5), Port: 80},
	}
	var b bytes.Buffer
	if _, err := h.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestProxyProtocol(t *testing.T) {
	v1, v2 := proxyHeader(t, 1, proxyproto.PROXY), proxyHeader(t, 2, proxyproto.PROXY)
	local := proxyHeader(t, 2, proxyproto.LOCAL)
	tests := []struct{ name, trusted, header, want string }{ // want: "" when the connection is just closed
		{"v1", "127.0.0.0/8", v1, "9.8.7.6 http|9.8.7.6|h|http"},
		{"v2", "127.0.0.0/8", v2, "9.8.7.6 http|9.8.7.6|h|http"},
		{"v2 local", "127.0.0.0/8", local, "127.0.0.1 http|127.0.0.1|h|http"},
		{"v1 unknown", "127.0.0.0/8", "PROXY UNKNOWN\r\n", "127.0.0.1 http|127.0.0.1|h|http"},
		{"missing", "127.0.0.0/8", "", ""},
		{"broken v1", "127.0.0.0/8", "PROXY TCP4 1.2.3 x\r\n", ""},
		{"broken v2", "127.0.0.0/8", v2[:12] + "\xff\xff\x00\x00", ""},
		{"v1 without end", "127.0.0.0/8", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"v1 with a bare line feed", "127.0.0.0/8", "PROXY TCP4 9.8.7.6 1.2.3.4 1 2\n", ""},
		{"v1 with a name", "127.0.0.0/8", "PROXY TCP4 localhost 1.2.3.4 1 2\r\n", ""},
		{"v1 twice", "127.0.0.0/8", v1 + v1, "400"},
		{"v2 twice", "127.0.0.0/8", v2 + v2, "400"},
		{"v2 whose length is a lie", "127.0.0.0/8", v2[:14] + "\x00\x04" + v2[16:], ""},
		{"v2 of no family", "127.0.0.0/8", v2[:13] + "\x00\x00\x00", ""},
		{"v2 with 64 KiB of options", "127.0.0.0/8", v2[:14] + "\xff\xff" + v2[16:28] + strings.Repeat("\x04\x00\x00", 21841), ""},
		{"forged v1 by an untrusted peer", "10.0.0.0/8", v1, "400"},
		{"forged v2 by an untrusted peer", "10.0.0.0/8", v2, "400"},
		{"nobody trusted", "", v1, "400"},
		{"untrusted peer without", "10.0.0.0/8", "", "127.0.0.1 http|127.0.0.1|h|http"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := Options{ProxyProtocol: true}
			if test.trusted != "" {
				o.TrustedProxies = prefixes(test.trusted)
			}
			f := start(t, o, whoAsks)
			c := dial(t, f)
			send(t, c, test.header+"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			got, err := io.ReadAll(c)
			switch {
			case test.want == "":
				if len(got) > 0 {
					t.Errorf("got %q, want the connection closed", got)
				}
			case err != nil:
				t.Errorf("%q, then %v", got, err)
			case test.want == "400":
				if !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) {
					t.Errorf("got %q, want 400", got)
				}
			case !bytes.HasSuffix(got, []byte("\r\n\r\n"+test.want)):
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A proxy's client is believed as little as any other: its X-Forwarded-For counts only if it is a trusted proxy too.
func TestProxyProtocolAndForwardedFor(t *testing.T) {
	header := proxyHeader(t, 2, proxyproto.PROXY)
	for trusted, want := range map[string]string{"127.0.0.0/8": "9.8.7.6", "0.0.0.0/0": "6.6.6.6"} {
		f := start(t, Options{ProxyProtocol: true, TrustedProxies: prefixes(trusted)}, whoAsks)
		c := dial(t, f)
		send(t, c, header+"GET / HTTP/1.1\r\nHost: h\r\n"+forged+"\r\n")
		if _, body := receive(t, bufio.NewReader(c), "GET"); !strings.HasPrefix(body, want+" ") {
			t.Errorf("%s trusted: got %q, want %s", trusted, body, want)
		}
	}
}

func TestProxyProtocolTimeout(t *testing.T) {
	f := start(t, Options{ProxyProtocol: true, TrustedProxies: prefixes("127.0.0.0/8"), HeaderTimeout: 30 * time.Millisecond}, whoAsks)
	c := dial(t, f)
	send(t, c, "PROXY TCP4 ")
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %q, %v, want the connection closed", b, err)
	}
}

// A PROXY header that names nobody leaves the proxy's address, but what its client says is not the proxy's word.
func TestProxyProtocolWithoutAddress(t *testing.T) {
	for name, header := range map[string]string{"v1": "PROXY UNKNOWN\r\n", "v2": proxyHeader(t, 2, proxyproto.LOCAL)} {
		f := start(t, Options{ProxyProtocol: true, TrustedProxies: prefixes("127.0.0.0/8")}, whoAsks)
		c := dial(t, f)
		send(t, c, header+"GET / HTTP/1.1\r\nHost: h\r\n"+forged+"\r\n")
		if _, body := receive(t, bufio.NewReader(c), "GET"); !strings.HasPrefix(body, "127.0.0.1 http|") {
			t.Errorf("%s: got %q, want the proxy's own address", name, body)
		}
	}
}
