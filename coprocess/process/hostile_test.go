package process_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// deadline is within when a hostile plugin has its documented state, with the defaults of all options.
const deadline = 12 * time.Second

// inTime holds what took long to its bound in soaks, which have the machine for themselves; elsewhere it is told.
func inTime(t *testing.T, what string, took, most time.Duration) {
	t.Helper()
	switch {
	case took <= most:
	case os.Getenv("TURNBUCKLE_SOAK") != "":
		t.Errorf("%s took %v, want at most %v", what, took, most)
	default:
		t.Logf("%s took %v; in a soak that is to be %v at most", what, took, most)
	}
}

// hostile is a plugin server that means no good, or does no good.
type hostile struct {
	name, mode string
	edit       func(*process.Options)
	// turn is called when it is ready; nil: it never is.
	turn func(*testing.T, *server)
	// state is the documented one.
	state func(*process.InstanceStatus) bool
}

// lost is the state of one that never gets ready: calls say why.
func lost(reason process.Reason, err string) func(*process.InstanceStatus) bool {
	return func(st *process.InstanceStatus) bool {
		c := st.LastCrash
		return st.State != process.StateReady && st.Starts == 0 && c != nil && c.Reason == reason && strings.Contains(c.Error, err)
	}
}

// replaced is the state of one that was ready, ended for the reason, and is ready again.
func replaced(reason process.Reason, err string) func(*process.InstanceStatus) bool {
	return func(st *process.InstanceStatus) bool {
		c := st.LastCrash
		return st.State == process.StateReady && st.Restarts > 0 && c != nil && c.Reason == reason && strings.Contains(c.Error, err)
	}
}

func unharmed(st *process.InstanceStatus) bool {
	return st.State == process.StateReady && st.Restarts == 0 && st.LastCrash == nil
}

// calls returns what calls a hook, which fails or does not answer in time.
func calls(hook string, want error) func(*testing.T, *server) {
	return func(t *testing.T, s *server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.call(ctx, t, hook); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func hostiles() []hostile {
	goPlugin := func(o *process.Options) { o.Handshake.Mode = handshake.GoPlugin }
	marked := func(more func(*process.Options)) func(*process.Options) {
		return func(o *process.Options) {
			o.Env = append(o.Env, "MARK="+mark())
			more(o)
		}
	}
	return []hostile{
		{"exits at once", "exit", nil, nil, func(st *process.InstanceStatus) bool {
			return st.State == process.StateQuarantined && lost(process.ReasonExited, "status 7")(st) &&
				strings.Join(st.LastCrash.Lines, "") == "no licence found"
		}},
		{"prints garbage", "garbage", nil, nil, lost(process.ReasonTimeout, "not ready in time")},
		{"prints garbage, go-plugin", "garbage", goPlugin, nil, lost(process.ReasonHandshake, "502 Bad Gateway")},
		{"prints nothing", "nothing", nil, nil, lost(process.ReasonTimeout, "says not where it listens")},
		{"prints 1 MiB before", "mebibyte", nil, nil, lost(process.ReasonTimeout, "not ready in time")},
		{"prints 1 MiB before, go-plugin", "mebibyte", goPlugin, nil, lost(process.ReasonHandshake, "want core|version")},
		{"announces an address outside", "outside", nil, nil, lost(process.ReasonHandshake, "not in the plugin's own folder")},
		{"speaks something else", "noprotocol", nil, nil, lost(process.ReasonTimeout, "health check")},
		{"hangs in health from the start", "hanghealth", nil, nil, lost(process.ReasonTimeout, "health check")},
		{"hangs in health", "sickens", nil, func(*testing.T, *server) {}, replaced(process.ReasonUnhealthy, "3 times in a row")},
		{"says it is healthy, and takes no calls any more", "walled", nil, calls("Pid", sdk.ErrUnavailable), replaced(process.ReasonUnhealthy, "cannot be called")},
		{"hangs in shutdown", "hangshutdown", nil, func(t *testing.T, s *server) {
			begun := time.Now()
			if err := s.Replace(t.Context()); err != nil {
				t.Error(err)
			}
			inTime(t, "the replacement, which waits not for the old one,", time.Since(begun), 5*time.Second)
		}, unharmed},
		{"hangs in a call", "sdk", nil, calls("Hang", context.DeadlineExceeded), unharmed},
		{"grandchild holds the pipes", "holdpipes", marked(func(*process.Options) {}), calls("Exit", sdk.ErrUnavailable),
			replaced(process.ReasonExited, "status 3")},
		{"floods the log", "sdk", nil, calls("Flood", nil), func(st *process.InstanceStatus) bool {
			return unharmed(st) && st.Output != nil && st.Output.Dropped > 0
		}},
		{"forks", "sdk", marked(func(o *process.Options) { o.Limits.Processes = 64 }), calls("Fork", nil),
			replaced(process.ReasonLimit, "processes: ")},
		{"leaks memory", "sdk", func(o *process.Options) { o.Limits.Memory = 256 << 20 }, calls("Leak", nil),
			func(st *process.InstanceStatus) bool {
				return replaced(process.ReasonLimit, "memory: ")(st) || replaced(process.ReasonExited, "")(st) // whoever is first
			}},
		{"answers 2 GiB", "huge", nil, calls("Pid", sdk.ErrProtocol), unharmed},
		{"stops", "sdk", nil, func(t *testing.T, s *server) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = s.call(ctx, t, "Stop") // the reply may still leave
			if _, err := s.call(ctx, t, "Pid"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want that the time was up", err)
			}
		}, replaced(process.ReasonUnhealthy, "not answered in time")},
	}
}

// Each hostile plugin has its documented state within 12 s, and another plugin's calls go on meanwhile.
func TestHostile(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	other := beside(t, "sdk", nil)
	other.ready(t)
	quick, stop := other.ticks(t)
	defer stop()
	var all sync.WaitGroup
	for _, h := range hostiles() {
		all.Go(func() { // all at once, which t.Parallel is not
			t.Run(h.name, func(t *testing.T) {
				before := quick.Load()
				h.run(t)
				if !processtest.Poll(func() bool { return quick.Load() > before+10 }) {
					t.Error("another plugin's calls do not go on")
				}
			})
		})
	}
	all.Wait()
	stop()
	t.Logf("%d calls of another plugin meanwhile", quick.Load())
}

// ticks is a light load.
func (s *server) ticks(t *testing.T) (calls *atomic.Int64, stop func()) {
	calls = &atomic.Int64{}
	quit := make(chan struct{})
	var one sync.WaitGroup
	one.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			if _, err := s.call(t.Context(), t, "Pid"); err != nil {
				t.Errorf("after %d calls: %v", calls.Load(), err)
			}
			calls.Add(1)
		}
	})
	return calls, sync.OnceFunc(func() { close(quit); one.Wait() })
}

// sooner shortens the waits that are the defaults', where there is no time for them.
func (h *hostile) sooner(o *process.Options) {
	if os.Getenv("TURNBUCKLE_SOAK") != "" {
		return
	}
	if h.turn == nil {
		o.StartTimeout = 3 * time.Second
	}
	o.HealthEvery, o.HealthTimeout, o.StopTimeout = time.Second, 500*time.Millisecond, 2*time.Second
}

func (h *hostile) run(t *testing.T) {
	var marked string
	s := beside(t, h.mode, func(o *process.Options) {
		h.sooner(o)
		if h.edit != nil {
			h.edit(o)
		}
		for _, e := range o.Env {
			if m, ok := strings.CutPrefix(e, "MARK="); ok {
				marked = m
			}
		}
	})
	begun := time.Now()
	if h.turn != nil {
		s.ready(t)
		begun = time.Now()
		h.turn(t, s)
	}
	s.until(t, "as documented", h.state)
	inTime(t, "the documented state", time.Since(begun), deadline)
	if h.turn == nil {
		var err error
		if !processtest.Poll(func() bool { // another may crash in between
			_, err = s.call(within(t, time.Second), t, "Pid")
			return errors.Is(err, sdk.ErrUnavailable) && strings.Contains(err.Error(), s.one().LastCrash.Error)
		}) {
			t.Errorf("got %v, want unavailable: %s", err, s.one().LastCrash.Error)
		}
	}
	begun = time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	inTime(t, "Close", time.Since(begun), deadline)
	if marked != "" && alive(t, marked) > 0 {
		t.Errorf("%d processes are left", alive(t, marked))
	}
	if left, err := os.ReadDir(s.runDir); err != nil || len(left) > 0 {
		t.Errorf("left in the run directory: %v %v", left, err)
	}
}
