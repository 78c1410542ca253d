package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func open(t *testing.T, c config.LogTarget, fail func(error)) Target {
	t.Helper()
	if c.Facility == "" {
		c.Facility = "local1"
	}
	if fail == nil {
		fail = func(error) {}
	}
	target, err := Open(t.Context(), c, slog.LevelInfo, Identity{Host: "gw-1", Version: "1.2.3", PID: 77}, fail)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		const grace = 2 * time.Second // what is left when a test ends, its target's end included, may be lost
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), grace)
		defer cancel()
		if err := target.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return target
}

func say(target Target) {
	log := slog.New(target.Handler()).With("api", "shop").WithGroup("g")
	log.Debug("not this")
	log.Warn("it <happened>", "n", 3, "ok", true)
}

// accept takes one connection and hands on what read makes of it.
func accept(t *testing.T, l net.Listener, read func(*bufio.Reader) (string, error)) <-chan string {
	t.Helper()
	out := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			r := bufio.NewReader(conn)
			for {
				m, err := read(r)
				if err != nil {
					break
				}
				select {
				case out <- m:
				case <-ctx.Done():
				}
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		<-done
	})
	return out
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case m := <-c:
		return m
	case <-time.After(patience):
		t.Fatal("nothing came")
		return ""
	}
}

// counted reads a message with its length before it (RFC 6587 §3.4.1).
func counted(r *bufio.Reader) (string, error) {
	n, err := r.ReadString(' ')
	if err != nil {
		return "", err
	}
	size, err := strconv.Atoi(strings.TrimSpace(n))
	if err != nil {
		return "", err
	}
	m := make([]byte, size)
	_, err = io.ReadFull(r, m)
	return string(m), err
}

func TestSyslog(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	lines := accept(t, l, counted)
	say(open(t, config.LogTarget{Type: config.LogSyslog, Address: "tcp://" + l.Addr().String()}, nil))
	want := regexp.MustCompile(`^<140>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) gw-1 turnbuckle 77 - - it <happened> \{"api":"shop","g":\{"n":3,"ok":true\}\}$`)
	if got := next(t, lines); !want.MatchString(got) {
		t.Errorf("got %s", got)
	}
}

func TestSyslogOfThisMachine(t *testing.T) {
	dir, err := os.MkdirTemp("", "tb") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	conn, err := net.ListenPacket("unixgram", filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	say(open(t, config.LogTarget{Type: config.LogSyslog, Address: "unix://" + filepath.Join(dir, "log"), Facility: "daemon"}, nil))
	if got := datagram(t, conn); !regexp.MustCompile(`^<28>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d turnbuckle\[77\]: it <happened> \{`).MatchString(got) {
		t.Errorf("got %s", got)
	}
}

func datagram(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, _, err := conn.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m
}

func TestLogstash(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	lines := accept(t, l, func(r *bufio.Reader) (string, error) { return r.ReadString('\n') })
	say(open(t, config.LogTarget{Type: config.LogLogstash, Address: "tcp://" + l.Addr().String()}, nil))
	got := decoded(t, next(t, lines))
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["@timestamp"])); err != nil {
		t.Error(err)
	}
	delete(got, "@timestamp")
	want := map[string]any{
		"@version": "1", "level": "warn", "message": "it <happened>", "application": "turnbuckle", "host": "gw-1", "api": "shop",
		"g": map[string]any{"n": 3.0, "ok": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGELF(t *testing.T) {
	want := map[string]any{
		"version": "1.1", "level": 4.0, "short_message": "it <happened>", "_application": "turnbuckle", "host": "gw-1", "_api": "shop", "_g.n": 3.0, "_g.ok": "true",
	}
	check := func(t *testing.T, text string) {
		t.Helper()
		got := decoded(t, text)
		if at, ok := got["timestamp"].(float64); !ok || time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
			t.Errorf("timestamp %v", got["timestamp"])
		}
		delete(got, "timestamp")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	t.Run("tcp", func(t *testing.T) {
		l := listen(t, "127.0.0.1:0")
		lines := accept(t, l, func(r *bufio.Reader) (string, error) { return r.ReadString(0) })
		say(open(t, config.LogTarget{Type: config.LogGELF, Address: "tcp://" + l.Addr().String()}, nil))
		check(t, strings.TrimSuffix(next(t, lines), "\x00"))
	})
	t.Run("udp", func(t *testing.T) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		target := open(t, config.LogTarget{Type: config.LogGELF, Address: "udp://" + conn.LocalAddr().String()}, nil)
		say(target)
		check(t, datagram(t, conn))
		long := strings.Repeat("long ", 1000)
		slog.New(target.Handler()).Error(long)
		parts := map[byte]string{}
		var id string
		for n := 1; len(parts) < n; {
			d := datagram(t, conn)
			if d[:2] != "\x1e\x0f" || id != "" && d[2:10] != id {
				t.Fatalf("chunk %q", d[:12])
			}
			id, n, parts[d[10]] = d[2:10], int(d[11]), d[12:]
		}
		whole := ""
		for i := range len(parts) {
			whole += parts[byte(i)]
		}
		if got := decoded(t, whole); got["short_message"] != long {
			t.Errorf("got %.100v", got["short_message"])
		}
	})
}

// A target that is away gets what was said meanwhile when it is there again, and nobody who logs waits for it: what is too
// much is dropped and counted.
func TestOutage(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 100)
	target := open(t, config.LogTarget{Type: config.LogLogstash, Address: "tcp://" + address}, func(err error) { failed <- err })
	log := slog.New(target.Handler())
	log.Info("0")
	select {
	case <-failed:
	case <-time.After(patience):
		t.Fatal("nobody says that it is away")
	}
	const more = 3 * queueLines
	for i := range more {
		log.Info(strconv.Itoa(i + 1))
	}
	if n := target.Dropped(); n < more-queueLines-1 {
		t.Errorf("%d dropped", n)
	}
	lines := accept(t, listen(t, address), func(r *bufio.Reader) (string, error) { return r.ReadString('\n') })
	for i := range 100 {
		if got := decoded(t, next(t, lines)); got["message"] != strconv.Itoa(i) {
			t.Fatalf("line %d is %v", i, got["message"])
		}
	}
}

// A target that takes a connection and then nothing is given up when it is time to end.
func TestStuck(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	defer func() { _ = l.Close() }()
	target, err := Open(t.Context(), config.LogTarget{Type: config.LogLogstash, Address: "tcp://" + l.Addr().String()}, slog.LevelInfo, Identity{}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(target.Handler())
	text := strings.Repeat("x", 100_000)
	for range 1000 {
		log.Info(text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := target.Close(ctx); err != nil {
		t.Error(err)
	}
	log.Info("after the end")
	if target.Dropped() < 2 {
		t.Errorf("%d dropped", target.Dropped())
	}
}

func TestSentry(t *testing.T) {
	events := make(chan map[string]any, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key=k3y") {
			t.Errorf("%v, %v", err, r.Header)
		}
		for part := range bytes.SplitSeq(body, []byte("\n")) { // an envelope: header, then items of header and body
			var e map[string]any
			if json.Unmarshal(part, &e) == nil && e["message"] != nil {
				events <- e
			}
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	target := open(t, config.LogTarget{Type: config.LogSentry, DSN: strings.Replace(server.URL, "://", "://k3y@", 1) + "/42", Environment: "test"}, nil)
	say(target)
	slog.New(target.Handler()).Error("it broke", "api", "shop")
	select {
	case e := <-events:
		logged, err := json.Marshal(e["contexts"].(map[string]any)["log"])
		if err != nil || string(logged) != `{"api":"shop"}` || e["message"] != "it broke" || e["level"] != "error" || e["environment"] != "test" ||
			e["release"] != "turnbuckle@1.2.3" || e["server_name"] != "gw-1" {
			t.Errorf("%v, got %v", err, e)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []config.LogTarget{
		{Type: config.LogSyslog, Address: "tls://127.0.0.1:1", CAFile: "/does/not/exist"},
		{Type: config.LogSentry, DSN: "https://host/1"},
	} {
		if _, err := Open(t.Context(), c, slog.LevelInfo, Identity{}, func(error) {}); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	pem := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(pem, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), config.LogTarget{Type: config.LogGELF, Address: "tls://127.0.0.1:1", CAFile: pem}, slog.LevelInfo, Identity{}, func(error) {})
	if err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
