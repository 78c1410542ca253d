package keeper_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// The test binary is a keeper, the host of one, and a program that leaks, as well.
func TestMain(m *testing.M) {
	name, value, _ := strings.Cut(processtest.QuickExit, "=")
	if err := os.Setenv(name, value); err != nil { // keepers get it
		panic(err)
	}
	switch {
	case keeper.Wanted(os.Args):
		os.Exit(keeper.Main())
	case os.Getenv("KEEPER_TEST") == "host":
		host()
	case os.Getenv("KEEPER_TEST") == "leak":
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = byte(i)
			}
			all = append(all, b)
			if len(all) == 1<<10 {
				return // the limit did not hold
			}
		}
	}
	os.Exit(m.Run())
}

// host starts a program, says who it is, and waits to be killed.
func host() {
	spec := script(os.Args[1], os.Args[2])
	spec.Remains = os.Args[3:]
	p, err := keeper.Start(context.Background(), nil, spec, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-p.Done()
}

func script(private, text string) *keeper.Spec {
	return &keeper.Spec{
		Path: "/bin/sh", Args: []string{"sh", "-c", text}, Dir: "/", Private: private,
		Env: []string{"PATH=" + os.Getenv("PATH"), "PRIVATE=" + private, "GORACE=atexit_sleep_ms=0"},
	}
}

// running is a program, and what it writes.
type running struct {
	*keeper.Process
	lines   *bufio.Reader
	private string
}

func start(t *testing.T, spec *keeper.Spec) *running {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := keeper.Start(t.Context(), nil, spec, w, w)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.End(0)
		// Nobody holds the pipe any more.
		_ = r.SetReadDeadline(time.Now().Add(processtest.Patience))
		if rest, err := io.ReadAll(r); err != nil {
			t.Errorf("reading on: %v after %q", err, rest)
		}
		_ = r.Close()
		if spec.Private != "" {
			if _, err := os.Lstat(spec.Private); err == nil {
				t.Error("the program's folder is still there")
			}
		}
		goleak.VerifyNone(t, ignore)
	})
	return &running{p, bufio.NewReader(r), spec.Private}
}

// line is the next the program writes.
func (r *running) line(t *testing.T) string {
	t.Helper()
	s, err := r.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("read: %v after %q", err, s)
	}
	return strings.TrimSuffix(s, "\n")
}

func ended(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(processtest.Patience):
		t.Fatalf("%s does not end", what)
	}
}

// alive counts processes whose command line has the mark.
func alive(t *testing.T, mark string) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-eo", "pid,args").Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, mark) && !strings.Contains(line, "ps -eo") {
			n++
		}
	}
	return n
}

// mark is an argument of sleep that no other test has.
func mark() string { return strconv.FormatInt(100000+time.Now().UnixNano()%1000000000, 10) }

func TestExit(t *testing.T) {
	tests := []struct {
		name, script string
		want         keeper.Exit
	}{
		{"status", "exit 3", keeper.Exit{Code: 3}},
		{"success", "exit 0", keeper.Exit{}},
		{"signal", "kill -SEGV $$", keeper.Exit{Code: -1, Signal: "SIGSEGV"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, script(filepath.Join(t.TempDir(), "p"), test.script))
			ended(t, "program", p.Exited())
			ended(t, "keeper", p.Done())
			got := p.Exit()
			if got.MaxRSS <= 0 {
				t.Errorf("max RSS %d", got.MaxRSS)
			}
			got.MaxRSS, got.CPU = 0, 0
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestWorld(t *testing.T) {
	private := filepath.Join(t.TempDir(), "p")
	spec := script(private, `pwd; env | sort | tr '\n' ' '; echo; stat -c %a "$PRIVATE"; ls -l /proc/$$/fd | grep -c socket; sed -n 's/^NoNewPrivs:.//p' /proc/self/status; ulimit -n; ulimit -c; cat`)
	spec.Dir = "/"
	spec.Env = []string{"PATH=/usr/bin:/bin", "A=b c", "PRIVATE=" + private}
	spec.Limits.Files = 33
	p := start(t, spec)
	want := []string{"/", "A=b c PATH=/usr/bin:/bin PRIVATE=" + private + " PWD=/ ", "700", "0", "1", "33", "0"}
	for _, w := range want {
		if got := p.line(t); got != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
	ended(t, "program, whose standard input is empty,", p.Exited())
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root starts programs as somebody else")
	}
	spec := script(filepath.Join("/tmp", "keeper-test-"+mark()), `id -u; id -g; id -G; touch "$PRIVATE"/f && echo made; exit 0`)
	spec.User = &keeper.User{UID: 65534, GID: 65534, Groups: []uint32{65534, 4}}
	p := start(t, spec)
	for _, w := range []string{"65534", "65534", "65534 4", "made"} {
		if got := p.line(t); got != w {
			t.Errorf("got %q, want %q", got, w)
		}
	}
}

func TestCannotStart(t *testing.T) {
	taken := t.TempDir()
	theirs := filepath.Join(taken, "theirs")
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name string
		edit func(*keeper.Spec)
		want string
	}{
		{"no program", func(s *keeper.Spec) { s.Path = "/no/such/program" }, "start /no/such/program: no such file or directory"},
		{"no folder", func(s *keeper.Spec) { s.Dir = "/no/such/folder" }, "the folder to work in: stat /no/such/folder: no such file or directory"},
		{"no folder but a file", func(s *keeper.Spec) { s.Dir = theirs }, "the folder to work in: " + theirs + " is none"},
		{"no interpreter", func(s *keeper.Spec) { s.Path = file("#!/no/such/interpreter\n") }, "not the interpreter that its first line"},
		{"no program at all", func(s *keeper.Spec) { s.Path = file("hello\n") }, "exec format error: it is no program for this machine"},
		{"folder is taken", func(s *keeper.Spec) { s.Private = taken }, "make the plugin's own folder"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			spec := script("", "exit 0")
			test.edit(spec)
			if _, err := keeper.Start(t.Context(), nil, spec, os.Stdout, os.Stderr); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("a folder that was there before was not left alone: %v", err)
	}
	if _, err := keeper.Start(t.Context(), []string{"/no/such/gateway"}, script("", "exit 0"), os.Stdout, os.Stderr); err == nil {
		t.Error("there is no such keeper, and no error")
	}
}

// hidden is a script that starts processes which leave its group, session and parent.
func hidden(m, then string) string {
	return fmt.Sprintf(`for i in 1 2 3; do (setsid sh -c 'sleep %[1]s & sleep %[1]s' &) ; done
until [ $(ps -eo args | grep -c '^sleep %[1]s') = 6 ]; do sleep 0.02; done; echo started; %[2]s`, m, then)
}

// Whoever descends from the program ends: when it ends by itself, is told to, ignores that, is stopped, and when
// somebody kills the keeper.
func TestNobodyStays(t *testing.T) {
	tests := []struct {
		name, then string
		end        func(*running)
	}{
		{"exits", "exit 1", func(*running) {}},
		{"killed", "sleep 1000", func(r *running) { r.End(0) }},
		{"told", "sleep 1000", func(r *running) { r.End(10 * time.Second) }},
		{"ignores", "trap '' TERM; sleep 1000; sleep 1000", func(r *running) { r.End(100 * time.Millisecond) }},
		{"stopped", "kill -STOP $$", func(r *running) { r.End(100 * time.Millisecond) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := mark()
			p := start(t, script(filepath.Join(t.TempDir(), "p"), hidden(m, test.then)))
			p.line(t)
			test.end(p)
			ended(t, "keeper", p.Done())
			if n := alive(t, m); runtime.GOOS == "linux" && n > 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

// A keeper that somebody kills takes the program with it, if not what that has started.
func TestKeeperKilled(t *testing.T) {
	p := start(t, script(filepath.Join(t.TempDir(), "p"), "echo $PPID; exec sleep 1000"))
	keeper, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, "program", p.Exited())
	ended(t, "keeper", p.Done())
	if got := p.Exit(); !got.Lost {
		t.Errorf("got %+v", got)
	}
}

// A keeper that is stopped cannot be told anything; it is killed, and the program with it.
func TestKeeperStopped(t *testing.T) {
	p := start(t, script(filepath.Join(t.TempDir(), "p"), "echo $PPID; exec sleep 1000"))
	keeper, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.End(0)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("the program is still there: %s", stat)
	}
}

func TestLimits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has them")
	}
	t.Run("memory", func(t *testing.T) {
		spec := script("", "KEEPER_TEST=leak exec "+os.Args[0])
		spec.Limits.Memory = 96 << 20
		p := start(t, spec)
		ended(t, "program", p.Exited())
		if e := p.Exit(); !strings.HasPrefix(e.Breach, "memory: ") && e.Code != 2 && e.Code != 66 { // Go's own when it is out of memory, and the race detector's
			t.Errorf("got %+v, want a breach of memory", e)
		}
	})
	t.Run("processes", func(t *testing.T) {
		m := mark()
		spec := script("", `while :; do setsid sleep `+m+` & done`)
		spec.Limits.Processes = 50
		p := start(t, spec)
		ended(t, "program", p.Exited())
		ended(t, "keeper", p.Done())
		if e := p.Exit(); !strings.HasPrefix(e.Breach, "processes: ") {
			t.Errorf("got %+v, want a breach of processes", e)
		}
		if n := alive(t, m); n > 0 {
			t.Errorf("%d processes are left", n)
		}
	})
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return err != nil
}

// kill -9 of the host, again and again: what it started is gone within a second.
func TestHostKilled(t *testing.T) {
	rounds := 5
	if os.Getenv("TURNBUCKLE_SOAK") != "" {
		rounds = 200
	}
	slowest := time.Duration(0)
	for range rounds {
		m := mark()
		private := filepath.Join(t.TempDir(), "p")
		env := processtest.Environment("KEEPER_TEST=host")
		remains := filepath.Join(t.TempDir(), "remains")
		if err := os.MkdirAll(filepath.Join(remains, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		h, err := processtest.Spawn("host", "/", env, os.Args[0], private, hidden(m, "sleep "+m), remains)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Await("^started"); err != nil {
			t.Fatal(err)
		}
		h.Kill()
		begun := time.Now()
		if !processtest.Poll(func() bool { return alive(t, m) == 0 && gone(private) && gone(remains) }) {
			t.Fatalf("%d processes are left", alive(t, m))
		}
		slowest = max(slowest, time.Since(begun))
	}
	t.Logf("%d hosts killed: all gone after %v at most", rounds, slowest)
}
