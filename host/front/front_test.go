package front

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bounded is how long anything in these tests may take before it counts as hung.
const bounded = 10 * time.Second

type handlerFunc func(f *flow.Flow)

func (h handlerFunc) Serve(f *flow.Flow) { h(f) }

// reply answers with a status and a text.
func reply(f *flow.Flow, status int, text string) {
	var h sdk.Header
	h.Append("Content-Type", "text/plain")
	f.Client.WriteHeader(status, &h, int64(len(text)))
	_, _ = io.WriteString(f.Client, text)
}

// echoTarget answers with what the flow says was asked for.
func echoTarget(f *flow.Flow) {
	r := f.X.Request()
	reply(f, 200, fmt.Sprintf("%s|%s|%s|%s|%s", r.Method(), r.Host(), r.Path(), r.Query().Raw(), r.URI()))
}

// start serves until the test ends; the front must then stop without leaving anything behind.
func start(t testing.TB, o Options, h handlerFunc) *Front {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	f, err := New(o, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := f.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if open := f.Stats().Open; open != 0 {
			t.Errorf("%d connections left open", open)
		}
	})
	return f
}

// dial connects to the front with a deadline for everything on the connection.
func dial(t testing.TB, f *Front) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(bounded))
	return c.(*net.TCPConn)
}

// send writes raw bytes.
func send(t testing.TB, c io.Writer, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatalf("sending: %v", err)
	}
}

// receive reads one reply and its body.
func receive(t testing.TB, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the reply: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the reply's body: %v", err)
	}
	return resp, string(body)
}

// ask sends raw bytes on a connection of its own and returns all that comes back until the front closes.
func ask(t testing.TB, f *Front, raw string) string {
	t.Helper()
	c := dial(t, f)
	go func() { _, _ = io.WriteString(c, raw) }()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// logged collects log lines.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		want string // in the error; "" for none
	}{
		{"no address", Options{}, "no address"},
		{"depth", Options{Address: ":0", XFFDepth: -1}, "depth -1"},
		{"no certificate", Options{Address: ":0", TLS: &TLSOptions{}}, "without a certificate"},
		{"no key", Options{Address: ":0", TLS: &TLSOptions{CertFiles: []string{"a"}}}, "one key for each"},
		{"old TLS", Options{Address: ":0", TLS: &TLSOptions{CertFiles: []string{"a"}, KeyFiles: []string{"b"}, MinVersion: 0x302}}, "TLS 1.1"},
		{"missing file", Options{Address: ":0", TLS: &TLSOptions{CertFiles: []string{"/none"}, KeyFiles: []string{"/none"}}}, "/none"},
		{"fine", Options{Address: ":0", IdleTimeout: -1}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := New(test.o, handlerFunc(echoTarget))
			switch {
			case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case err == nil && (f.options.HeaderTimeout != DefaultHeaderTimeout || f.options.IdleTimeout != 0):
				t.Errorf("header timeout %v, idle timeout %v", f.options.HeaderTimeout, f.options.IdleTimeout)
			}
		})
	}
}

// The target reaches the handler byte for byte, or not at all.
func TestTarget(t *testing.T) {
	f := start(t, Options{}, echoTarget)
	tests := []struct {
		name, line, want string // want: path|query|URI, or a status
	}{
		{"plain", "GET /a/b?c=d", "/a/b|c=d|/a/b?c=d"},
		{"root", "GET /", "/||/"},
		{"double slashes", "GET //a//b//", "//a//b//||//a//b//"},
		{"looks like an authority", "GET //evil.example/x", "//evil.example/x||//evil.example/x"},
		{"escaped slash", "GET /a%2Fb%2f", "/a%2Fb%2f||/a%2Fb%2f"},
		{"dots", "GET /a/../b/./c", "/a/../b/./c||/a/../b/./c"},
		{"escaped dots", "GET /%2e%2E/x", "/%2e%2E/x||/%2e%2E/x"},
		{"semicolon", "GET /a;v=1/b?x;y=2", "/a;v=1/b|x;y=2|/a;v=1/b?x;y=2"},
		{"empty query", "GET /a?", "/a||/a?"},
		{"two question marks", "GET /a??b?c", "/a|?b?c|/a??b?c"},
		{"broken escape in query", "GET /a?b=%zz&c=%", "/a|b=%zz&c=%|/a?b=%zz&c=%"},
		{"broken escape in path", "GET /a%zz", "400"},
		{"half an escape", "GET /a%2", "400"},
		{"plus and case", "GET /A+b?Q=x+y%20Z", "/A+b|Q=x+y%20Z|/A+b?Q=x+y%20Z"},
		{"odd characters", "GET /a\"<>\\^`{|}b?\"<>\\^`{|}", "/a\"<>\\^`{|}b|\"<>\\^`{|}|/a\"<>\\^`{|}b?\"<>\\^`{|}"},
		{"not ASCII", "GET /\xc3\xa4?\xff", "/\xc3\xa4|\xff|/\xc3\xa4?\xff"},
		{"fragment", "GET /a#b", "400"},
		{"fragment in query", "GET /a?b#c", "400"},
		{"control character", "GET /a\x01b", "400"},
		{"absolute form", "GET http://h.example/p//q?r", "/p//q|r|http://h.example/p//q?r"},
		{"absolute form without path", "GET http://h.example", "/||http://h.example"},
		{"absolute form, query only", "GET http://h.example?q", "/|q|http://h.example?q"},
		{"absolute form, https", "GET https://h.example/p", "/p||https://h.example/p"},
		{"absolute form, other scheme", "GET ftp://h.example/p", "400"},
		{"absolute form, user", "GET http://u@h.example/p", "400"},
		{"absolute form, no host", "GET http:///p", "400"},
		{"relative", "GET a/b", "400"},
		{"asterisk", "OPTIONS *", "*||*"},
		{"asterisk and GET", "GET *", "400"},
		{"authority", "CONNECT h.example:443", "501"},
		{"HTTP/2's preface without HTTP/2", "PRI *", "400"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, f)
			send(t, c, test.line+" HTTP/1.1\r\nHost: h.example\r\n\r\n")
			resp, body := receive(t, bufio.NewReader(c), "GET")
			if len(test.want) == 3 {
				if fmt.Sprint(resp.StatusCode) != test.want {
					t.Errorf("got %d %q, want %s", resp.StatusCode, body, test.want)
				}
				return
			}
			method, _, _ := strings.Cut(test.line, " ")
			if want := method + "|h.example|" + test.want; body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "a.example": true, "a.example:80": true, "a.example:": true, "[::1]": true, "[::1]:8080": true, "[fe80::1%25eth0]:1": true,
		"127.0.0.1:65535": true, "a_b-c.example": true, "xn--4ca.example": true,
		"a.example:65536": false, "a.example:x": false, ":80": false, "::1": false, "[]": false, "[::1": false, "[::1]x": false,
		"u@a.example": false, "a/b": false, "a?b": false, "a b": false, "a,b": true, "\xff": false, "a\\b": false,
	} {
		if got := validHost(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
