package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// full is a test's full number with TURNBUCKLE_SOAK=1, else a sample.
func full(n, sample int) int {
	if os.Getenv("TURNBUCKLE_SOAK") == "" {
		return sample
	}
	return n
}

// patient is a budget that is never used up, and never waits.
func patient(o *process.Options) {
	o.Restart = budget.Policy{Crashes: 1 << 30, First: time.Nanosecond, Most: time.Nanosecond}
}

// mark is an argument of sleep that no other test has.
func mark() string { return strconv.FormatInt(100000+time.Now().UnixNano()%1000000000, 10) }

// alive counts processes whose command line has the mark.
func alive(t testing.TB, mark string) int {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "args").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(out), mark)
}

// gateway is the program that is killed: with a plugin that has a child in a session of its own.
func gateway() {
	s, err := process.Open(context.Background(), process.Options{
		Name: "p", Command: []string{os.Args[0]}, RunDir: os.Getenv("RUN_DIR"), Instances: 2,
		Env: []string{envMode + "=holdpipes", "MARK=" + os.Getenv("MARK"), processtest.QuickExit},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	processtest.Poll(func() bool {
		return !slices.ContainsFunc(s.Status().Instances, func(i process.InstanceStatus) bool { return i.State != process.StateReady })
	})
	for _, i := range s.Status().Instances {
		fmt.Println("plugin", i.PID)
	}
	fmt.Println("ready")
	select {}
}

// kill -9 of the gateway: no process and no socket is left after a second.
func TestGatewayKilled(t *testing.T) {
	rounds := full(200, 3)
	var took []time.Duration
	for range rounds {
		m, dir := mark(), runDir(t)
		env := processtest.Environment(envMode+"=gateway", "MARK="+m, "RUN_DIR="+dir)
		g, err := processtest.Spawn("gateway", "/", env, os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Await("^ready$"); err != nil {
			t.Fatal(err)
		}
		var plugins []string
		for line := range strings.Lines(g.Stdout.String()) {
			if pid, ok := strings.CutPrefix(strings.TrimSpace(line), "plugin "); ok {
				plugins = append(plugins, pid)
			}
		}
		if len(plugins) != 2 || alive(t, m) != 2 {
			t.Fatalf("plugins %v, children %d", plugins, alive(t, m))
		}
		g.Kill()
		begun := time.Now()
		if !processtest.Poll(func() bool {
			left, err := os.ReadDir(dir)
			for _, pid := range plugins {
				if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
					return false
				}
			}
			return err == nil && len(left) == 0 && alive(t, m) == 0
		}) {
			t.Fatalf("%d children are left", alive(t, m))
		}
		took = append(took, time.Since(begun))
	}
	report(t, "gateway killed -> all gone", took)
	if most := slices.Max(took); os.Getenv("TURNBUCKLE_SOAK") != "" && most > time.Second {
		t.Errorf("it took %v", most)
	}
}

func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s: n=%d p50=%v p90=%v max=%v", what, len(took), took[len(took)/2], took[len(took)*9/10], took[len(took)-1])
}

// From a crash until calls succeed again.
func TestCrashToReady(t *testing.T) {
	tests := []struct {
		name string
		tls  handshake.TLS
	}{{"mutual TLS", handshake.TLSRequired}, {"no TLS", handshake.TLSOff}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, "sdk", func(o *process.Options) {
				patient(o)
				o.Handshake.TLS = test.tls
			})
			var took []time.Duration
			for range full(100, 5) {
				s.ready(t)
				_, _ = s.call(within(t, 10*time.Second), t, "Exit")
				begun := time.Now()
				again := time.NewTicker(time.Millisecond) // asking all the time would take the processor from what starts
				for {
					if _, err := s.call(t.Context(), t, "Pid"); err == nil {
						break
					}
					if time.Since(begun) > processtest.Patience {
						t.Fatal("no call succeeds")
					}
					<-again.C
				}
				again.Stop()
				took = append(took, time.Since(begun))
			}
			report(t, "crash -> ready, "+test.name, took)
		})
	}
}

// load calls the server until the returned function is called; no call may fail.
func (s *server) load(t *testing.T) (calls *atomic.Int64, stop func()) {
	t.Helper()
	quit := make(chan struct{})
	calls = &atomic.Int64{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), processtest.Patience)
				if _, err := s.call(ctx, t, "Pid"); err != nil {
					t.Errorf("after %d calls: %v", calls.Load(), err)
				}
				cancel()
				calls.Add(1)
			}
		})
	}
	return calls, sync.OnceFunc(func() { close(quit); all.Wait() })
}

// Replacements under load: no call fails.
func TestReplace(t *testing.T) {
	for _, mode := range []string{"sdk", "tyk"} {
		t.Run(mode, func(t *testing.T) {
			s := open(t, mode, func(o *process.Options) { o.Instances = 2 })
			s.ready(t)
			calls, stop := s.load(t)
			defer stop()
			for range full(50, 4) { // of two instances each
				before := calls.Load()
				pids := []int{s.Status().Instances[0].PID, s.Status().Instances[1].PID}
				if err := s.Replace(t.Context()); err != nil {
					t.Fatal(err)
				}
				for i, st := range s.Status().Instances {
					if st.PID == pids[i] || st.State != process.StateReady || st.Restarts != 0 {
						t.Errorf("not replaced: %+v", st)
					}
				}
				if !processtest.Poll(func() bool { return calls.Load() > before+100 }) {
					t.Fatal("calls come to a halt")
				}
			}
			stop()
			t.Logf("%d calls, none failed", calls.Load())
		})
	}
}

// A successor that does not get ready changes nothing.
func TestReplaceFails(t *testing.T) {
	program := runDir(t) + "/plugin"
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	s := open(t, "sdk", func(o *process.Options) { o.Command = []string{program} })
	s.ready(t)
	before := s.one().PID
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want that there is no such file", err)
	}
	if st := s.one(); st.PID != before || st.State != process.StateReady || st.LastCrash == nil {
		t.Errorf("got %+v", st)
	}
	if _, err := s.call(within(t, 10*time.Second), t, "Pid"); err != nil {
		t.Error(err)
	}
}

// Restarts leave nothing behind in the gateway.
func TestRestartsLeakNothing(t *testing.T) {
	s := open(t, "sdk", func(o *process.Options) {
		patient(o)
		o.Handshake.TLS = handshake.TLSOff
	})
	crash := func(n int) {
		for i := range n {
			s.until(t, "ready", func(st *process.InstanceStatus) bool { return st.State == process.StateReady && st.PID != 0 })
			before := s.one()
			_, _ = s.call(within(t, 10*time.Second), t, "Exit")
			s.until(t, fmt.Sprintf("restarted, after %d", i), func(st *process.InstanceStatus) bool { return st.Starts > before.Starts })
		}
		s.ready(t)
	}
	type use struct {
		goroutines, files int
		rss               int64
	}
	now := func() (u use) {
		processtest.Poll(func() bool { // what ended needs a moment to be gone
			last := u
			u = use{goroutines: runtime.NumGoroutine(), files: openFiles(t), rss: rss(t)}
			return u.goroutines == last.goroutines && u.files == last.files
		})
		return u
	}
	crash(full(50, 10))
	before := now()
	rounds := full(1000, 15)
	crash(rounds)
	after := now()
	t.Logf("%d restarts: goroutines %d -> %d, files %d -> %d, RSS %d -> %d KiB", rounds,
		before.goroutines, after.goroutines, before.files, after.files, before.rss>>10, after.rss>>10)
	if after.goroutines > before.goroutines+5 || after.files > before.files+5 {
		t.Errorf("goroutines %d -> %d, files %d -> %d", before.goroutines, after.goroutines, before.files, after.files)
	}
	if os.Getenv("TURNBUCKLE_SOAK") != "" && after.rss > before.rss+10<<20 {
		t.Errorf("RSS %d -> %d", before.rss, after.rss)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(files)
}

func rss(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc")
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
