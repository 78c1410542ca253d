package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// TestMain lets the test binary stand in for the gateway ("serve") and for the plugin server ("-listen").
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "-listen") {
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer cancel()
		if err := standIn(ctx, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// standIn plays the doorman's part in one process: the gateway answers as the hooks would have it while the plugin's
// socket accepts.
func standIn(ctx context.Context, args []string) error {
	if args[0] == "-listen" {
		path := strings.TrimPrefix(args[1], "unix:")
		_ = os.Remove(path)
		listener, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		<-ctx.Done()
		return listener.Close()
	}
	listen, plugin := args[2], args[6]
	server := &http.Server{Addr: listen, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/hello":
		case proc.Accepts(plugin)(r.Context()) != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/shop/healthz":
			_, _ = io.WriteString(w, `{"status":"ok"}`)
		case r.Header.Get("Authorization") == "Bearer ada-token":
			w.Header().Set("X-Shop-Doorman", os.Getenv("DEMO_VERSION"))
			_, _ = io.WriteString(w, `{"path":"/books","caller":"ada","plan":"gold"}`)
		default:
			http.Error(w, "unknown token", http.StatusForbidden)
		}
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

func once(t *testing.T, listen string) (status int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status = run([]string{"--once", "--gateway", self, "--plugin", self, "--listen", listen}, &out, &errs)
	return status, out.String(), errs.String()
}

func TestDemo(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	t.Setenv("TMPDIR", t.TempDir())
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("good replies", func(t *testing.T) {
		t.Setenv("DEMO_VERSION", "1.0.0")
		status, stdout, stderr := once(t, address)
		if status != 0 {
			t.Fatalf("status %d: %s\n%s", status, stderr, stdout)
		}
		for _, want := range []string{
			"$ curl -i -H 'Authorization: Bearer ada-token' http://" + address + "/shop/v1/books\nHTTP/1.1 200 OK\n",
			"HTTP/1.1 403 Forbidden", "HTTP/1.1 503 Service Unavailable", `{"status":"ok"}`,
		} {
			if !strings.Contains(stdout, want) {
				t.Errorf("no %q in\n%s", want, stdout)
			}
		}
	})
	t.Run("wrong reply", func(t *testing.T) {
		t.Setenv("DEMO_VERSION", "0.9")
		if status, _, stderr := once(t, address); status != 1 || !strings.Contains(stderr, `X-Shop-Doorman is "0.9"`) {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
	t.Run("address taken", func(t *testing.T) {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if status, _, stderr := once(t, address); status != 1 || !strings.Contains(stderr, "LISTEN=") {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
	if left, err := filepath.Glob(os.Getenv("TMPDIR") + "/turnbuckle-demo-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The gateway takes the demo's definition, hooks and all.
func TestDefinition(t *testing.T) {
	text := strings.ReplaceAll(definition, "${UPSTREAM}", "http://127.0.0.1:1")
	d, refused := config.Loader{}.Parse("shop.yaml", []byte(text))
	if refused != nil {
		t.Fatalf("%+v", refused)
	}
	if h := d.Hooks; len(h.Pre) != 1 || len(h.Auth) != 1 || len(h.PostKeyAuth) != 1 || len(h.Post) != 1 || len(h.Response) != 1 {
		t.Errorf("got %+v, want a hook in each phase", h)
	}
}

func TestMisuse(t *testing.T) {
	for want, args := range map[int][]string{0: {"--help"}, 2: {"extra"}} {
		if got := run(args, io.Discard, io.Discard); got != want {
			t.Errorf("%v: status %d, want %d", args, got, want)
		}
	}
}
