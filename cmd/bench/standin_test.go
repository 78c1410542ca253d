package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/peers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/plugins"
)

// standIn is a gateway that does in one process what the benchmark's definitions ask for, and counts four calls in
// each frame. The test binary becomes it when it is started with "serve".
func standIn(args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	flag := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		flag[args[i]] = args[i+1]
	}
	files, err := filepath.Glob(filepath.Join(flag["--apis"], "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no definitions: %v", err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	target, err := url.Parse(string(regexp.MustCompile(`http://[0-9.:]+`).Find(text)))
	if err != nil {
		return err
	}
	var calls atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	data := &http.Server{Addr: flag["--listen"], Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(string(text), plugins.Authenticate) && r.Header.Get("Authorization") != plugins.Token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.Contains(string(text), plugins.SetHeader) {
			r.Header.Set(plugins.BenchHeader, "1")
		}
		calls.Add(1)
		proxy.ServeHTTP(w, r)
	})}
	admin := &http.Server{Addr: flag["--admin-listen"], Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+flag["--admin-secret"] {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "%s{server=\"default\"} %d\n%s %v\n", callsMetric, calls.Load(), framesMetric, float64(calls.Load())/4)
	})}
	ended := make(chan error, 2)
	for _, server := range []*http.Server{data, admin} {
		go func() { ended <- server.ListenAndServe() }()
		context.AfterFunc(ctx, func() { _ = server.Close() })
	}
	err = <-ended
	if ctx.Err() != nil {
		<-ended
		return nil
	}
	return err
}

// The rows of our gateway run, its calls per frame and its start are read, and the targets find them.
func TestRunGateway(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads other processes' clocks, which needs Linux")
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	status := run([]string{
		"run", "--builtin", "--rounds", "1", "--seconds", "0.1", "--rows", "^(baseline|plain|unary-1|unary-auth)/50|start",
		"--gateway", self, "--json", "-",
	}, &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d:\n%s", status, stderr.String())
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if s := r.Medians["unary-1/50"]; s.GatewayCPU <= 0 || s.CallsPerFrame != 4 || s.RSS <= 0 {
		t.Errorf("unary-1: %+v: want CPU time and 4 calls per frame", s)
	}
	if len(r.Rounds) != 1 || r.Rounds[0].Start == nil || r.Rounds[0].Start.Ready <= 0 || r.Rounds[0].Start.RSS <= 0 {
		t.Errorf("rounds %+v: want one with a start", r.Rounds)
	}
	for _, v := range r.Targets {
		wanted := strings.HasPrefix(v.What, "plain:") || strings.HasPrefix(v.What, "start") || v.Unit == "MiB"
		if wanted == (v.Result == notMeasured) {
			t.Errorf("%s: %s", v.What, v.Result)
		}
	}
}

// A gateway whose hook does not run is not measured.
func TestHookMustRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, peers.Body())
	}))
	defer server.Close()
	if err := answers(server.URL, plugins.Token, setup{})(t.Context()); err != nil {
		t.Error(err)
	}
	if err := answers(server.URL, plugins.Token, setup{definition: "pre1"})(t.Context()); err == nil || !strings.Contains(err.Error(), "hook ran: false") {
		t.Errorf("got %v", err)
	}
	if err := refuses(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "without credentials") {
		t.Errorf("got %v", err)
	}
}
