package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// log gathers what is logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// server is one that a test has started.
type server struct {
	*process.Server
	log    *log
	runDir string
}

// runDir is a folder with a short path: sockets' are.
func runDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tbp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// open starts one of the plugins of plugin_test.go. When the test is over nothing of it may be left.
func open(t testing.TB, mode string, edit func(*process.Options)) *server {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	return beside(t, mode, edit)
}

// beside is open where others run at the same time.
func beside(t testing.TB, mode string, edit func(*process.Options)) *server {
	t.Helper()
	l := &log{}
	o := process.Options{
		Name: "p", Command: []string{os.Args[0]}, Env: []string{envMode + "=" + mode, processtest.QuickExit},
		RunDir: runDir(t), Log: slog.New(slog.NewTextHandler(l, nil)),
	}
	if edit != nil {
		edit(&o)
	}
	s, err := process.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, i := range s.Status().Instances {
			if i.State != process.StateStopped || i.PID != 0 {
				t.Errorf("after Close: %+v", i)
			}
		}
		if left, err := os.ReadDir(o.RunDir); err != nil || len(left) > 0 {
			t.Errorf("left in the run directory: %v %v", left, err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", l)
		}
	})
	return &server{s, l, o.RunDir}
}

// ready waits until all instances take calls.
func (s *server) ready(t testing.TB) {
	t.Helper()
	s.until(t, "ready", func(st *process.InstanceStatus) bool {
		return st.State == process.StateReady && st.RPC != nil && st.RPC.State == rpc.StateReady
	})
}

// until waits for a condition of all instances.
func (s *server) until(t testing.TB, what string, condition func(*process.InstanceStatus) bool) {
	t.Helper()
	ok := processtest.Poll(func() bool {
		for _, st := range s.Status().Instances {
			if !condition(&st) {
				return false
			}
		}
		return true
	})
	if !ok {
		text, _ := json.MarshalIndent(s.Status(), "", "  ")
		t.Fatalf("not %s: %s", what, text)
	}
}

// one is the status of the only instance.
func (s *server) one() process.InstanceStatus { return s.Status().Instances[0] }

// call calls a hook and returns the process id that it says it runs in.
func (s *server) call(ctx context.Context, t testing.TB, name string) (int, error) {
	t.Helper()
	x, _ := coprocesstest.NewExchange()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: x.Route()})
	if err != nil {
		t.Fatal(err)
	}
	x.Begin(sdk.Pre, nil, false)
	if err := h.Handle(ctx, x); err != nil {
		return 0, err
	}
	pid, _ := strconv.Atoi(x.Request().Header().Get("X-Pid"))
	return pid, nil
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Every kind of plugin server that may come, with and without mutual TLS.
func TestKinds(t *testing.T) {
	theirs := func(c handshake.Config) func(*process.Options) {
		c.CookieKey, c.CookieValue, c.Versions = "THEIR_PLUGIN", "biscuit", []int{4, 5}
		return func(o *process.Options) { o.Handshake = c }
	}
	tests := []struct {
		name, mode string
		edit       func(*process.Options)
		protocol   string
	}{
		{"our SDK", "sdk", nil, "native"},
		{"our SDK without TLS", "sdk", func(o *process.Options) { o.Handshake.TLS = handshake.TLSOff }, "native"},
		{"our SDK, go-plugin alone", "sdk", func(o *process.Options) { o.Handshake.Mode = handshake.GoPlugin }, "native"},
		{"our SDK, TLS required", "sdk", func(o *process.Options) { o.Handshake.TLS = handshake.TLSRequired }, "native"},
		{"our SDK, told where to listen", "plain", nil, "native"},
		{"plain", "tyk", func(o *process.Options) { o.Handshake.Mode = handshake.Plain }, "tyk"},
		{"stock go-plugin", "goplugin", theirs(handshake.Config{TLS: handshake.TLSRequired}), "tyk"},
		{"stock go-plugin without TLS", "goplugin", theirs(handshake.Config{TLS: handshake.TLSOff}), "tyk"},
		{"stock go-plugin alone", "goplugin", theirs(handshake.Config{Mode: handshake.GoPlugin}), "tyk"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, test.mode, test.edit)
			s.ready(t)
			pid, err := s.call(within(t, 10*time.Second), t, "Pid")
			if err != nil {
				t.Fatal(err)
			}
			st := s.one()
			if pid != st.PID || s.Protocol() != test.protocol || st.Starts != 1 || st.Restarts != 0 {
				t.Errorf("process %d answered in %q: %+v", pid, s.Protocol(), st)
			}
			if test.mode == "goplugin" {
				if !processtest.Poll(func() bool { return strings.Count(s.log.String(), "hello from a go-plugin hello") >= 100 }) {
					t.Error("what it prints does not arrive")
				}
			}
		})
	}
}

// Open says what can be seen to be wrong, and starts nothing.
func TestOpenRefuses(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("x", 70))
	if err := os.MkdirAll(filepath.Join(deep, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	notExecutable := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notExecutable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		edit func(*process.Options)
		want string
	}{
		{"no name", func(o *process.Options) { o.Name = "" }, "name and command are required"},
		{"no command", func(o *process.Options) { o.Command = nil }, "name and command are required"},
		{"no program", func(o *process.Options) { o.Command = []string{"./none"} }, "none: no such file"},
		{"not in PATH", func(o *process.Options) { o.Command = []string{"no-such-plugin"} }, "executable file not found"},
		{"not executable", func(o *process.Options) { o.Command = []string{notExecutable} }, "permission denied"},
		{"handshake", func(o *process.Options) { o.Handshake.Mode = "x" }, "unknown handshake"},
		{"limits", func(o *process.Options) { o.Limits.Memory = -1 }, "must not be negative"},
		{"run directory", func(o *process.Options) { o.RunDir = "/" + strings.Repeat("x", 70) }, "too long for sockets"},
		{"run directory", func(o *process.Options) { o.RunDir = "/no/such/directory" }, "there is no such directory"},
		{"argument", func(o *process.Options) { o.Command = append(o.Command, "a\x00b") }, "zero byte"},
		{"environment", func(o *process.Options) { o.Env = []string{"A=\x00"} }, "zero byte"},
		{"user", func(o *process.Options) { o.User = "no such user" }, "there is none"},
		{"run directory", func(o *process.Options) { t.Chdir(deep); o.RunDir = "run" }, "too long for sockets"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := process.Options{Name: "p", Command: []string{os.Args[0]}}
			test.edit(&o)
			s, err := process.Open(t.Context(), o)
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// The plugin's world: what it is given, and nothing of the gateway's besides.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_GATEWAY", "x")
	t.Setenv("PASSED", "on")
	dir := t.TempDir()
	script := filepath.Join(dir, "plugin.sh")
	text := "#!/bin/sh\npwd > where\nenv > env\nexec \"$PLUGIN\"\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, "sdk", func(o *process.Options) {
		o.Command, o.Dir = []string{"./plugin.sh"}, dir
		o.Env = append(o.Env, "PLUGIN="+os.Args[0])
		o.PassEnv = []string{"PASSED"}
	})
	s.ready(t)
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(env), "PASSED=on\n") || strings.Contains(string(env), "SECRET") {
		t.Errorf("environment:\n%s", env)
	}
	if where, err := os.ReadFile(filepath.Join(dir, "where")); err != nil || strings.TrimSpace(string(where)) != dir {
		t.Errorf("works in %s %v, want %s", where, err, dir)
	}
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root starts processes as somebody else")
	}
	dir := runDir(t)
	program := filepath.Join(dir, "plugin") // where another user gets at it
	for _, err := range []error{exec.Command("cp", os.Args[0], program).Run(), os.Chmod(dir, 0o755), os.Chmod(program, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"nobody", "65534:65534", "4242:4242"} {
		s := open(t, "sdk", func(o *process.Options) {
			o.Command, o.User, o.Dir = []string{program}, name, "/"
			if err := os.Chmod(o.RunDir, 0o711); err != nil {
				t.Fatal(err)
			}
		})
		s.ready(t)
		if _, err := s.call(within(t, 10*time.Second), t, "Pid"); err != nil {
			t.Error(err)
		}
		out, err := exec.Command("ps", "-o", "uid=", "-p", strconv.Itoa(s.one().PID)).Output()
		if uid := strings.TrimSpace(string(out)); err != nil || uid != "65534" && uid != "4242" {
			t.Errorf("%s runs as %s %v", name, uid, err)
		}
	}
}

// A crash costs the calls that were under way. The next process is there at once; after several it takes longer, and
// then a trial at a time.
func TestCrashes(t *testing.T) {
	s := open(t, "sdk", func(o *process.Options) {
		o.Restart = budget.Policy{Crashes: 3, First: time.Millisecond, Hold: 300 * time.Millisecond, Stable: time.Hour}
	})
	crashes := uint64(0)
	crash := func() {
		t.Helper()
		s.ready(t)
		if _, err := s.call(within(t, 10*time.Second), t, "Exit"); !errors.Is(err, sdk.ErrUnavailable) {
			t.Errorf("got %v, want unavailable", err)
		}
		crashes++
		s.until(t, "crashed", func(st *process.InstanceStatus) bool { return st.Crashes[process.ReasonExited] == crashes })
	}
	crash()
	s.until(t, "started again", func(st *process.InstanceStatus) bool { return st.Restarts == 1 })
	st := s.one()
	if c := st.LastCrash; c == nil || c.Reason != process.ReasonExited || c.ExitCode != 3 || st.Crashes[process.ReasonExited] != 1 ||
		c.MaxRSS == 0 || !strings.Contains(strings.Join(c.Lines, "\n"), "msg=serving") {
		t.Errorf("last crash: %+v", c)
	}
	crash()
	crash()
	s.until(t, "quarantined", func(st *process.InstanceStatus) bool { return st.State == process.StateQuarantined })
	_, err := s.call(within(t, time.Second), t, "Pid")
	if !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "quarantine") || !strings.Contains(err.Error(), "status 3") {
		t.Errorf("got %v, want that it is in quarantine", err)
	}
	crash() // on trial
	s.until(t, "quarantined again", func(st *process.InstanceStatus) bool {
		return st.State == process.StateQuarantined && time.Until(*st.NextStart) > 300*time.Millisecond
	})
	if err := s.Replace(within(t, processtest.Patience)); err != nil { // somebody who knows better
		t.Error(err)
	}
	s.ready(t)
	if _, err := json.Marshal(s.Status()); err != nil {
		t.Error(err)
	}
}

// Several instances: all get calls, and one that ends is not missed.
func TestInstances(t *testing.T) {
	s := open(t, "sdk", func(o *process.Options) { o.Instances = 3 })
	s.ready(t)
	answered := map[int]int{}
	for range 300 {
		pid, err := s.call(within(t, 10*time.Second), t, "Pid")
		if err != nil {
			t.Fatal(err)
		}
		answered[pid]++
	}
	if len(answered) != 3 {
		t.Errorf("answers by process: %v", answered)
	}
	_, _ = s.call(within(t, 10*time.Second), t, "Exit")
	for range 100 {
		if _, err := s.call(within(t, 10*time.Second), t, "Pid"); err != nil {
			t.Fatalf("one of three ended: %v", err)
		}
	}
	s.ready(t)
}
