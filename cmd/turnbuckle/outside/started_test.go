package outside

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/output"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// TestMain makes the test binary keepers and a plugin server, too.
func TestMain(m *testing.M) {
	switch {
	case keeper.Wanted(os.Args):
		os.Exit(keeper.Main())
	case os.Getenv("OUTSIDE_TEST_PLUGIN") != "":
		os.Exit(serve.Main(&sdk.Plugin{Name: "one", Version: "1", Hooks: []sdk.HookSpec{
			{Name: "Pass", Phase: sdk.Pre, Hook: sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return nil })},
		}}))
	}
	goleak.VerifyTestMain(m)
}

// started is a server that the test binary is.
func started(t *testing.T, level string) config.PluginServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "tbo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var c config.PluginServer
	c.SetDefaults()
	c.Start.Command, c.Start.Dir, c.Start.RunDir = []string{os.Args[0]}, "/", dir
	c.Start.Env = map[string]string{"OUTSIDE_TEST_PLUGIN": "1", "LEVEL": level, "GORACE": "atexit_sleep_ms=0"}
	return c
}

// giveBack gives servers back.
func giveBack(t *testing.T, servers ...host.Server) {
	t.Helper()
	for _, s := range servers {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func settle(t *testing.T, s host.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), processtest.Patience)
	defer cancel()
	s.(*lease).Settle(ctx)
	if !s.(*lease).up() {
		t.Fatalf("it takes no calls: %+v", s.(*lease).process.Status())
	}
}

// Routes share processes while settings stay what they are; others have others, which take calls when those before do.
func TestStartedShared(t *testing.T) {
	all := NewServers(slog.New(slog.DiscardHandler), "test")
	c := started(t, "info")
	get := func(c config.PluginServer) host.Server {
		t.Helper()
		s, err := all.Get(t.Context(), "one", c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := get(c)
	settle(t, first)
	again := started(t, "info")
	again.Start.RunDir = c.Start.RunDir
	second := get(again)
	if first.(*lease).Identity() != second.(*lease).Identity() {
		t.Error("the same settings have started another server")
	}
	again.Start.Env["LEVEL"], again.Start.Instances = "debug", 3
	third := get(again)
	if third.(*lease).Identity() == first.(*lease).Identity() {
		t.Error("other settings: want another server")
	}
	for _, i := range third.(*lease).process.Status().Instances {
		if !ready(&i) {
			t.Errorf("it takes the place of another and is not ready: %+v", i)
		}
	}
	if all.Dead() != 0 || len(all.Instances()) != 4 || len(all.processes()) != 3 {
		t.Errorf("dead %d, instances %+v", all.Dead(), all.Instances())
	}
	if row := all.Instances()[0]; row.Server != "one" || row.Address != "#0" || row.State != "ready" || !row.Up {
		t.Errorf("got %+v", row)
	}
	pid := second.(*lease).process.Status().Instances[0].PID
	giveBack(t, third, first)
	if err := all.Replace(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	if now := all.processes()[0]; now.PID == pid || now.PID == 0 {
		t.Errorf("process %d was not replaced: %+v", pid, now)
	}
	giveBack(t, second)
	var refused *router.Refusal
	if err := all.Replace(t.Context(), "one"); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(c.Start.RunDir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// What does not get ready takes nobody's place; who asks again for the same table is told the same.
func TestStartedNotReady(t *testing.T) {
	var log locked
	all := NewServers(slog.New(slog.NewTextHandler(&log, nil)), "test")
	c := started(t, "info")
	first, err := all.Get(t.Context(), "one", c)
	if err != nil {
		t.Fatal(err)
	}
	defer giveBack(t, first)
	settle(t, first)
	bad := c
	bad.Start.Command = []string{"sh", "-c", "echo no licence found; exit 7"}
	o := &Opener{Ctx: t.Context(), Servers: all, Settings: map[string]config.PluginServer{"one": bad}}
	for range 2 {
		var failed *NotReadyError
		_, err := o.Server(&config.Definition{}, "one")
		if !errors.As(err, &failed) || failed.Server != "one" || !strings.Contains(err.Error(), "the old ones go on: process exited with status 7") {
			t.Errorf("got %v", err)
		}
	}
	if n := strings.Count(log.String(), `line="no licence found"`); n != 1 {
		t.Errorf("it was started %d times:\n%s", n, log.String())
	}
	bad.Start.Command = []string{"sleep", "1000"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := all.Get(ctx, "one", bad); err == nil || !strings.Contains(err.Error(), "load_timeout") {
		t.Errorf("got %v", err)
	}
	if !first.(*lease).up() {
		t.Error("the old one does not go on")
	}
	beside, err := all.Get(t.Context(), "another", bad) // nobody's place
	if err != nil {
		t.Fatal(err)
	}
	if all.Dead() != 1 {
		t.Errorf("%d are dead", all.Dead())
	}
	giveBack(t, beside)
}

type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Every setting arrives.
func TestProcessOptions(t *testing.T) {
	c := config.PluginServer{
		MaxRecv: 1, MaxSend: 2, Authority: "a", Streams: 3, Window: 4, ConnectTimeout: 5, Health: "h", Protocol: config.ServerTyk,
		Start: config.PluginStart{
			Command: []string{"a", "b"}, Instances: 2, Dir: "/d", Env: map[string]string{"B": "2", "A": "1"}, PassEnv: []string{"C"}, User: "u",
			Limits: config.StartLimits{Memory: 1, Files: 2, Processes: 3}, StartTimeout: 1, StopTimeout: 2, DrainTimeout: 3,
			HealthCheck: config.StartHealth{Every: 1, Timeout: 2, Misses: 3},
			Restart:     config.StartRestart{Backoff: 1, MaxBackoff: 2, Stable: 3, Crashes: 4, Window: 5, Quarantine: 6, MaxQuarantine: 7},
			Output:      config.StartOutput{Line: 1, Rate: 2, Lines: 3}, RunDir: "/r",
			Handshake: config.StartHandshake{Mode: config.HandshakeGoPlugin, TLS: config.HandshakeTLSRequired, CookieKey: "k", CookieValue: "v", Versions: []int{1}, TCP: true},
		},
	}
	want := process.Options{
		Name: "n", Command: []string{"a", "b"}, Dir: "/d", Env: []string{"A=1", "B=2"}, PassEnv: []string{"C"}, User: "u", RunDir: "/r",
		Limits: keeper.Limits{Memory: 1, Files: 2, Processes: 3}, Instances: 2, Health: "h", StartTimeout: 1, StopTimeout: 2,
		HealthEvery: 1, HealthTimeout: 2, HealthMisses: 3,
		Restart:   budget.Policy{First: 1, Most: 2, Stable: 3, Crashes: 4, Window: 5, Hold: 6, Longest: 7},
		Output:    output.Options{Line: 1, Rate: 2, Keep: 3},
		Handshake: handshake.Config{Mode: handshake.GoPlugin, TLS: handshake.TLSRequired, CookieKey: "k", CookieValue: "v", Versions: []int{1}, TCP: true},
		RPC:       rpc.Options{Protocol: rpc.Tyk, MaxRecv: 1, MaxSend: 2, Authority: "a", Streams: 3, Window: 4, ConnectTimeout: 5, DrainTimeout: 3},
	}
	got, err := processOptions("n", &c)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	c.Start.Handshake = config.StartHandshake{Mode: config.HandshakePlain, TLS: config.HandshakeTLSOff}
	if got, err := processOptions("n", &c); err != nil || got.Handshake.Mode != handshake.Plain || got.Handshake.TLS != handshake.TLSOff {
		t.Errorf("got %+v, %v", got.Handshake, err)
	}
}

// What is started when nothing is said is what package process does by itself: one place says it to users.
func TestStartDefaults(t *testing.T) {
	var c config.PluginServer
	c.SetDefaults()
	got, err := processOptions("n", &c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(budget.Policy{}.WithDefaults(), got.Restart); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What cannot work is told before anything starts.
func TestCheckStart(t *testing.T) {
	for _, tt := range []struct {
		want string
		edit func(*config.PluginServer)
	}{
		{"", func(*config.PluginServer) {}},
		{"", func(c *config.PluginServer) { c.Start.Command = nil }},
		{"no-such-program", func(c *config.PluginServer) { c.Start.Command = []string{"no-such-program"} }},
		{"too long for sockets", func(c *config.PluginServer) { c.Start.RunDir = "/" + strings.Repeat("x", 60) }},
		{"there is none", func(c *config.PluginServer) { c.Start.User = "nobody-of-this-name" }},
		{"unknown handshake", func(c *config.PluginServer) { c.Start.Handshake.Mode = "x" }},
		{"unknown TLS", func(c *config.PluginServer) { c.Start.Handshake.TLS = "x" }},
	} {
		c := started(t, "info")
		tt.edit(&c)
		if err := CheckStart("one", &c); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// Code in a plugin's folder, and the program of a server, are part of it; what it writes is not.
func TestStampsOfCode(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"/plugin.yaml", "/main.py", "/lib/deep/a.rb", "/node_modules/x/y.js", "/__pycache__/main.py", "/.git/x.py", "/state.db", "/log"} {
		put(t, dir+name, "1")
	}
	put(t, dir+"/serve", "1")
	if err := os.Chmod(dir+"/serve", 0o755); err != nil {
		t.Fatal(err)
	}
	server := &config.PluginServer{Start: config.PluginStart{Command: []string{"python3"}, Folder: dir}}
	outside := t.TempDir() + "/program"
	put(t, outside, "1")
	program := &config.PluginServer{Start: config.PluginStart{Command: []string{outside}}}
	for _, tt := range []struct {
		file   string
		server *config.PluginServer
		counts bool
	}{
		{dir + "/plugin.yaml", server, true}, {dir + "/main.py", server, true}, {dir + "/lib/deep/a.rb", server, true}, {dir + "/serve", server, true},
		{dir + "/node_modules/x/y.js", server, false}, {dir + "/__pycache__/main.py", server, false}, {dir + "/.git/x.py", server, false},
		{dir + "/state.db", server, false}, {dir + "/log", server, false}, {outside, program, true},
	} {
		before, all := ofServer(tt.server), Files("", map[string]config.PluginServer{"a": *tt.server}, nil)
		put(t, tt.file, "another")
		if changed := ofServer(tt.server) != before; changed != tt.counts {
			t.Errorf("%s: changed %v", filepath.Base(tt.file), changed)
		}
		if changed := !cmp.Equal(all, Files("", map[string]config.PluginServer{"a": *tt.server}, nil)); changed != tt.counts {
			t.Errorf("%s: a reload sees a change: %v", filepath.Base(tt.file), changed)
		}
	}
}
