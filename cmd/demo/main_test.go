package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
	fmt.Fprintln(os.Stderr, "the stand-in serves")
	server := &http.Server{Addr: listen, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/ready":
		case r.URL.Path == "/exit":
			os.Exit(3)
		case proc.Accepts(plugin)(r.Context()) != nil:
			http.Error(w, "plugin unavailable", http.StatusServiceUnavailable)
		case r.URL.Path == "/shop/healthz":
			_, _ = io.WriteString(w, `{"status":"ok"}`)
		case r.Header.Get("Authorization") == "Bearer ada-token":
			w.Header().Set("X-Shop-Doorman", os.Getenv("DEMO_VERSION"))
			_, _ = io.WriteString(w, `{"path":"/books","caller":"ada","token":false,"plan":"gold"}`)
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

func once(t *testing.T, gateway, plugin, listen string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run([]string{"--once", "--gateway", gateway, "--plugin", plugin, "--listen", listen}, &out, &errs)
	return status, out.String(), errs.String()
}

// nothingLeft fails when the demo left files behind, or its address taken.
func nothingLeft(t *testing.T, address string) {
	t.Helper()
	if left, err := filepath.Glob(os.Getenv("TMPDIR") + "/turnbuckle-demo-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := free(t.Context(), address); err != nil {
		t.Errorf("the gateway still runs: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	address, err := proc.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// The demo as make demo runs it, with the real gateway and plugin server.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/turnbuckle", "./examples/go-grpc")
	build.Dir = filepath.Join("..", "..")
	dependOnSources(t, build.Dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	status, stdout, stderr := once(t, filepath.Join(dir, "turnbuckle"), filepath.Join(dir, "go-grpc"), address)
	if status != exitFine || stderr != "" {
		t.Fatalf("status %d: %s\n%s", status, stderr, stdout)
	}
	at := 0
	for _, want := range []string{
		"gateway        http://" + address,
		"$ curl -i -H 'Authorization: Bearer ada-token' http://" + address + "/shop/v1/books\nHTTP/1.1 200 OK ✓\n", "X-Shop-Doorman: 1.0.0", `"plan":"gold"`,
		"$ curl -i -H 'Authorization: Bearer stolen-token' http://" + address + "/shop/v1/books\nHTTP/1.1 403 Forbidden ✓\n", "unknown token",
		"$ curl -i http://" + address + "/shop/healthz\nHTTP/1.1 200 OK ✓\n", `{"status":"ok"}`,
		"stopping the plugin server", "HTTP/1.1 503 Service Unavailable ✓\n", "started the plugin server again", "all 4 replies are right",
	} {
		i := strings.Index(stdout[at:], want)
		if i < 0 {
			t.Errorf("no %q behind the %d bytes before it in\n%s", want, at, stdout)
			continue
		}
		at += i + len(want)
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("colours, and no terminal")
	}
	nothingLeft(t, address)
}

// dependOnSources makes go test run the test again when a source file changes, though another program reads it: it
// looks at what a test opens.
func dependOnSources(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that just went
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailures(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	t.Run("stand-ins pass", func(t *testing.T) {
		t.Setenv("DEMO_VERSION", "1.0.0")
		if status, stdout, stderr := once(t, self, self, address); status != exitFine {
			t.Errorf("status %d: %s\n%s", status, stderr, stdout)
		}
	})
	t.Run("wrong reply", func(t *testing.T) {
		t.Setenv("DEMO_VERSION", "0.9")
		status, stdout, stderr := once(t, self, self, address)
		if status != exitFailed || !strings.Contains(stderr, `X-Shop-Doorman is "0.9"`) || !strings.Contains(stdout, "200 OK ✗") {
			t.Errorf("status %d: %s\n%s", status, stderr, stdout)
		}
		if !strings.Contains(stderr, "the stand-in serves") {
			t.Errorf("nothing of the gateway's log in %s", stderr)
		}
	})
	t.Run("address taken", func(t *testing.T) {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if status, _, stderr := once(t, self, self, address); status != exitFailed || !strings.Contains(stderr, address+" is taken") || !strings.Contains(stderr, "LISTEN=") {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
	nothing := filepath.Join(t.TempDir(), "nothing")
	for name, tt := range map[string]struct{ gateway, plugin, listen, want string }{
		"no address":        {self, self, "8080", "LISTEN=host:port"},
		"odd address":       {self, self, "nowhere.invalid:1", "cannot listen on nowhere.invalid:1"},
		"no gateway":        {nothing, self, address, "make demo builds it"},
		"no plugin":         {self, nothing, address, "make demo builds it"},
		"gateway that ends": {"/bin/false", self, address, "gateway: ended before it was ready"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _, stderr := once(t, tt.gateway, tt.plugin, tt.listen); status != exitFailed || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d: %s, want %s", status, stderr, tt.want)
			}
		})
	}
	nothingLeft(t, address)
}

// Without --once it serves until it is interrupted, or one of its processes ends.
func TestServes(t *testing.T) {
	t.Setenv("DEMO_VERSION", "1.0.0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	for _, tt := range []struct {
		name string
		end  func(interrupt func())
		fine bool
	}{
		{"interrupted", func(interrupt func()) { interrupt() }, true},
		{"gateway ends", func(func()) {
			reply, err := http.Get("http://" + address + "/exit")
			if err == nil {
				_ = reply.Body.Close()
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
			defer interrupt()
			out := &waiter{want: "until Ctrl-C", seen: make(chan struct{})}
			done := make(chan error, 1)
			go func() {
				done <- demo{gateway: self, plugin: self, listen: address, say: newPrinter(out)}.run(ctx)
			}()
			select {
			case <-out.seen:
				tt.end(interrupt)
			case err := <-done:
				t.Fatalf("did not serve on: %v", err)
			}
			if err := <-done; (err == nil) != tt.fine {
				t.Error(err)
			}
			nothingLeft(t, address)
		})
	}
}

// waiter closes seen once want was written.
type waiter struct {
	want string
	seen chan struct{}
	text strings.Builder
	once sync.Once
}

func (w *waiter) Write(p []byte) (int, error) {
	w.text.Write(p)
	if strings.Contains(w.text.String(), w.want) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func TestBaseURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":80": "http://127.0.0.1:80", "0.0.0.0:1": "http://127.0.0.1:1",
		"[::]:8080": "http://127.0.0.1:8080", "[::1]:8080": "http://[::1]:8080", "gw.example:80": "http://gw.example:80",
	} {
		if got, err := baseURL(listen); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", listen, got, err, want)
		}
	}
}

// The gateway takes the demo's definition, hooks and all.
func TestDefinition(t *testing.T) {
	text := strings.ReplaceAll(definition, "${UPSTREAM}", "http://127.0.0.1:1")
	d, refused := config.Loader{}.Parse("shop.yaml", []byte(text))
	if refused != nil {
		t.Fatalf("%+v", refused)
	}
	for _, phase := range config.Phases() {
		if h := d.HooksIn(phase); len(h) != 1 {
			t.Errorf("%s: got %+v, want one hook", phase, h)
		}
	}
}

func TestMisuse(t *testing.T) {
	for want, args := range map[int][]string{0: {"--help"}, 2: {"extra"}} {
		if got := run(args, io.Discard, io.Discard); got != want {
			t.Errorf("%v: status %d, want %d", args, got, want)
		}
	}
}
