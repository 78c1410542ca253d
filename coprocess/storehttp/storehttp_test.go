package storehttp_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/storehttp"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// borrower is a plugin that uses its loan.
type borrower struct {
	t      *testing.T
	client *http.Client
	token  string
	socket string
}

func (b *borrower) ask(method, target, body string) (int, string, http.Header) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://store"+target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	reply, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	text, err := io.ReadAll(reply.Body)
	if err := errors.Join(err, reply.Body.Close()); err != nil {
		b.t.Fatal(err)
	}
	return reply.StatusCode, string(text), reply.Header
}

func (b *borrower) want(method, target, body string, status int, text string) {
	b.t.Helper()
	if got, said, _ := b.ask(method, target, body); got != status || !strings.Contains(said, text) || text == "" && status < 300 && said != "" {
		b.t.Errorf("%s %s: got %d %q, want %d %q", method, target, got, said, status, text)
	}
}

func lend(t *testing.T, s *storehttp.Server, entries string) *borrower {
	t.Helper()
	loan, err := s.Lend(t.Context(), storehttp.Borrower{Plugin: "p", Entries: entries, UID: -1})
	if err != nil {
		t.Fatal(err)
	}
	b := &borrower{t: t}
	for _, v := range loan.Env() {
		if path, ok := strings.CutPrefix(v, storehttp.EnvAddress+"=unix:"); ok {
			b.socket = path
		}
		if token, ok := strings.CutPrefix(v, storehttp.EnvToken+"="); ok {
			b.token = token
		}
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.socket)
	}}
	b.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := loan.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(loan.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder is left: %v", err)
		}
	})
	return b
}

func open(t *testing.T) store.Store {
	t.Helper()
	db, err := bolt.Open(context.WithoutCancel(t.Context()), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// The interface is as STORE.md has it.
func TestEntries(t *testing.T) {
	db := open(t)
	s := storehttp.New(storehttp.Options{Dir: t.TempDir(), Open: func() (script.Storage, error) { return db, nil }})
	b := lend(t, s, "one")
	for _, step := range []struct {
		method, target, body string
		status               int
		text                 string
	}{
		{"GET", "/v1/store/a", "", 404, "nothing"},
		{"HEAD", "/v1/store/a", "", 404, ""},
		{"PUT", "/v1/store/a", "one\x00\xff", 204, ""},
		{"GET", "/v1/store/a", "", 200, "one\x00\xff"},
		{"PUT", "/v1/store/a?new=1", "two", 409, "something"},
		{"PUT", "/v1/store/a%2Fb%20%C3%A9?ttl=5&new=1", "", 204, ""},
		{"GET", "/v1/store/a%2Fb%20%C3%A9", "", 200, ""},
		{"POST", "/v1/store/n?incr=40", "", 200, "40"},
		{"POST", "/v1/store/n?incr=-2&ttl=100", "", 200, "38"},
		{"POST", "/v1/store/n?incr=9223372036854775807", "", 409, "number"},
		{"POST", "/v1/store/a?incr=1", "", 409, "number"},
		{"POST", "/v1/store/a?incr=x", "", 400, "incr"},
		{"POST", "/v1/store/a", "", 400, "incr"},
		{"DELETE", "/v1/store/a", "", 204, ""},
		{"DELETE", "/v1/store/a", "", 204, ""},
		{"GET", "/v1/store/a", "", 404, ""},
		{"PUT", "/v1/store/a?ttl=-1", "x", 400, "ttl"},
		{"PUT", "/v1/store/a?ttl=315360001", "x", 400, "ttl"},
		{"PUT", "/v1/store/", "x", 400, "256 bytes"},
		{"PUT", "/v1/store/" + strings.Repeat("k", 257), "x", 400, "256 bytes"},
		{"PUT", "/v1/store/" + strings.Repeat("%00", 256), "x", 204, ""},
		{"PUT", "/v1/store/a", strings.Repeat("x", 65536), 204, ""},
		{"PUT", "/v1/store/a", strings.Repeat("x", 65537), 413, "65536"},
		{"PATCH", "/v1/store/a", "", 405, "PATCH"},
		{"GET", "/v1/store/a/b", "", 404, "%2F"},
		{"GET", "/else", "", 404, "no such path"},
		{"POST", "/v1/events", `{"type": "Sold", "message": "out"}`, 503, "nowhere"},
	} {
		b.want(step.method, step.target, step.body, step.status, step.text)
	}
	for target, want := range map[string]string{"n": "-1", "a%2Fb%20%C3%A9": "5"} {
		if status, _, header := b.ask("HEAD", "/v1/store/"+target, ""); status != 200 || header.Get("X-Ttl") != want {
			t.Errorf("%s: got %d, %q, want %q", target, status, header.Get("X-Ttl"), want)
		}
	}
	// Others see nothing of it, and nobody without the token.
	other := lend(t, s, "two")
	other.want("GET", "/v1/store/n", "", 404, "nothing")
	same := lend(t, s, "one")
	same.want("GET", "/v1/store/n", "", 200, "38")
	other.token = same.token
	other.want("GET", "/v1/store/n", "", 401, "token")
	other.token = ""
	other.want("GET", "/v1/store/n", "", 401, "token")
	if info, err := os.Stat(filepath.Dir(b.socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestEvents(t *testing.T) {
	var got []string
	full := false
	s := storehttp.New(storehttp.Options{
		Dir: t.TempDir(), Open: func() (script.Storage, error) { return nil, store.ErrUnavailable },
		Event: func(plugin, kind, message string) error {
			if full {
				return errors.New("there are too many")
			}
			got = append(got, plugin+" "+kind+" "+message)
			return nil
		},
	})
	b := lend(t, s, "p")
	b.want("POST", "/v1/events", `{"type": "Sold", "message": "out"}`, 204, "")
	b.want("POST", "/v1/events", `{"type": "", "message": "out"}`, 400, "type")
	b.want("POST", "/v1/events", `{"type": 3}`, 400, "event")
	b.want("POST", "/v1/events", strings.Repeat(" ", 65537), 413, "65536")
	b.want("GET", "/v1/events", "", 405, "GET")
	full = true
	b.want("POST", "/v1/events", `{"type": "Sold", "message": "out"}`, 503, "too many")
	if len(got) != 1 || got[0] != "p Sold out" {
		t.Errorf("got %q", got)
	}
	b.want("GET", "/v1/store/a", "", 503, "the storage is away")
}

// slow is a storage that answers no more.
type slow struct{ script.Storage }

func (slow) Get(ctx context.Context, _ string) (store.Entry, error) {
	<-ctx.Done()
	return store.Entry{}, ctx.Err()
}

// A storage that hangs holds no plugin for longer than it would wait.
func TestSlow(t *testing.T) {
	s := storehttp.New(storehttp.Options{Dir: t.TempDir(), Open: func() (script.Storage, error) { return slow{}, nil }})
	b := lend(t, s, "p")
	b.client.Timeout = 5 * time.Second
	b.want("GET", "/v1/store/a", "", 503, "away")
}
