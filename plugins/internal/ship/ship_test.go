package ship

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/spool"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSink takes what fail lets it, and keeps it.
type fakeSink struct {
	mu     sync.Mutex
	got    []string
	calls  []call
	fail   func(n int, items []Item) (int, error) // of the nth call; nil: none fails
	hold   chan struct{}                          // if not nil, Send waits for it
	begun  time.Time
	closed bool
}

type call struct {
	at    time.Duration
	items int
}

func (f *fakeSink) Send(ctx context.Context, items []Item) (int, error) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call{time.Since(f.begun), len(items)})
	n, err := len(items), error(nil)
	if f.fail != nil {
		n, err = f.fail(len(f.calls), items)
	}
	if err == nil {
		n = len(items)
	}
	for _, i := range items[:n] {
		f.got = append(f.got, string(i.Key)+":"+string(i.Body))
	}
	return n, err
}

func (f *fakeSink) Close() error { f.closed = true; return nil }

func (f *fakeSink) delivered() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.got...)
}

func (f *fakeSink) made() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls...)
}

func (f *fakeSink) set(fail func(int, []Item) (int, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

var errDown = errors.New("connection refused")

func down(int, []Item) (int, error) { return 0, errDown }

func settings(t *testing.T, change func(*Settings)) Settings {
	t.Helper()
	var s Settings
	if change != nil {
		change(&s)
	}
	if err := s.Complete(); err != nil {
		t.Fatal(err)
	}
	return s
}

func noSpool(s *Settings) { zero := Size(0); s.Spool.Size = &zero }

func numbered(from, n int) []Item {
	var items []Item
	for i := from; i < from+n; i++ {
		items = append(items, Item{Key: []byte("k"), Body: fmt.Append(nil, i)})
	}
	return items
}

func texts(from, n int) []string {
	var out []string
	for i := from; i < from+n; i++ {
		out = append(out, fmt.Sprintf("k:%d", i))
	}
	return out
}

func stat(s *Shipper, name string) float64 {
	for _, one := range s.Stats() {
		if one.Name == name {
			return one.Value
		}
	}
	return -1
}

// A batch ends by what comes first: count, size or time.
func TestBatches(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Settings)
		put    []int
		want   []call
	}{
		{"time", nil, []int{3, 4}, []call{{time.Second, 7}}},
		{"count", func(s *Settings) { s.Batch.Count = 5 }, []int{12}, []call{{0, 5}, {0, 5}, {time.Second, 2}}},
		{"size", func(s *Settings) { s.Batch.Size = 40 }, []int{5}, []call{{0, 3}, {time.Second, 2}}}, // 12 bytes an item on disk
		{"count, one by one", func(s *Settings) { s.Batch.Count = 3 }, []int{1, 1, 1, 1}, []call{{0, 3}, {time.Second, 1}}},
		{"size, one by one", func(s *Settings) { s.Batch.Size = 24 }, []int{1, 1, 1}, []call{{0, 2}, {time.Second, 1}}},
		{"count, all on disk", func(s *Settings) { s.Batch.Count = 3; s.Spool.Always = true }, []int{1, 1, 1, 1}, []call{{0, 3}, {time.Second, 1}}},
		{"size, all on disk", func(s *Settings) { s.Batch.Size = 24; s.Spool.Always = true }, []int{1, 1, 1}, []call{{0, 2}, {time.Second, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &fakeSink{begun: time.Now()}
				s := New(t.Context(), Options{Name: "t", Settings: settings(t, test.change), Sink: sink, Host: sdk.Host{Dir: t.TempDir()}})
				n := 0
				for _, more := range test.put {
					s.PutAll(numbered(n, more))
					n += more
					synctest.Wait()
				}
				pass(5 * time.Second)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if diff := gocmp.Diff(texts(0, n), sink.delivered()); diff != "" {
					t.Error(diff)
				}
				if diff := gocmp.Diff(test.want, sink.made(), gocmp.AllowUnexported(call{})); diff != "" {
					t.Error(diff)
				}
				if !sink.closed {
					t.Error("the sink is left open")
				}
			})
		})
	}
}

// While the other side is down everything waits on disk, in order, and comes when it is back; Put never waits.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now()}
		s := New(t.Context(), Options{Name: "t", Settings: settings(t, nil), Sink: sink, Host: sdk.Host{Dir: t.TempDir()}})
		s.PutAll(numbered(0, 10))
		pass(2 * time.Second)
		sink.set(down)
		for i := range 50 {
			s.PutAll(numbered(10+100*i, 100))
			pass(time.Second)
		}
		if q, d := stat(s, "queued"), stat(s, "spooled"); q != 0 || d != 5000 || stat(s, "up") != 0 {
			t.Errorf("%v wait in memory and %v on disk", q, d)
		}
		sink.set(nil)
		pass(time.Minute)
		if diff := gocmp.Diff(texts(0, 5010), sink.delivered()); diff != "" {
			t.Error(diff)
		}
		if stat(s, "delivered") != 5010 || stat(s, "dropped") != 0 || stat(s, "spooled") != 0 || stat(s, "up") != 1 {
			t.Errorf("stats: %+v", s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A sink that hangs holds nobody: Put returns while it does, and within the bounds nothing is lost.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), hold: make(chan struct{})}
		s := New(t.Context(), Options{Name: "t", Sink: sink, Host: sdk.Host{Dir: t.TempDir()}, Settings: settings(t, func(s *Settings) {
			s.Queue.Count, s.Batch.Count = 100, 100
		})})
		s.PutAll(numbered(0, 50))
		pass(2 * time.Second) // it is under way
		for i := range 20 {
			s.PutAll(numbered(50+50*i, 50)) // what is under way is spilled with the rest
		}
		close(sink.hold)
		pass(time.Minute)
		if diff := gocmp.Diff(texts(0, 1050), sink.delivered()); diff != "" {
			t.Error(diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is dropped while it is under way, and arrives all the same, is counted once: all that was accepted is somewhere.
func TestDroppedUnderWay(t *testing.T) {
	for name, test := range map[string]struct {
		spool   Size
		dropped bool // whether all of the first batch are
	}{"memory": {0, true}, "disk": {1 << 20, true}, "disk, with room": {16 << 20, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &fakeSink{begun: time.Now(), hold: make(chan struct{})}
				s := New(t.Context(), Options{Name: "t", Sink: sink, Host: sdk.Host{Dir: t.TempDir()}, Settings: settings(t, func(s *Settings) {
					s.Queue.Count, s.Batch.Count, s.Spool.Size = 100, 100, &test.spool
				})})
				body := make([]byte, 10<<10)
				s.PutAll(slices.Repeat([]Item{{Body: body}}, 100))
				pass(2 * time.Second) // they are under way
				for range 3 {
					s.PutAll(slices.Repeat([]Item{{Body: body}}, 100))
				}
				before := stat(s, "dropped")
				close(sink.hold)
				pass(time.Minute)
				arrived, dropped := len(sink.delivered()), stat(s, "dropped")
				if dropped != before || dropped >= 100 != test.dropped || stat(s, "delivered")+dropped != 400 || test.dropped != (arrived > int(stat(s, "delivered"))) {
					t.Errorf("%d arrived: %+v", arrived, s.Stats())
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Without a spool the oldest go when memory is full, and are counted; what is left over at the end is no secret.
func TestNoSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), fail: down}
		s := New(t.Context(), Options{Name: "t", Sink: sink, Settings: settings(t, func(s *Settings) {
			noSpool(s)
			s.Queue.Count, s.Batch.Count = 10, 10
		})})
		s.PutAll(numbered(0, 25))
		if stat(s, "dropped") != 15 || stat(s, "queued") != 10 {
			t.Errorf("stats: %+v", s.Stats())
		}
		sink.set(nil)
		pass(time.Minute)
		if diff := gocmp.Diff(texts(15, 10), sink.delivered()); diff != "" {
			t.Error(diff)
		}
		sink.set(down)
		s.PutAll(numbered(25, 3))
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "3 records") {
			t.Errorf("got %v", err)
		}
		s.PutAll(numbered(28, 1))
		if stat(s, "dropped") != 19 {
			t.Errorf("dropped %v", stat(s, "dropped"))
		}
	})
}

// What could not be delivered before the end is delivered by the next run, before what is new.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o := Options{Name: "t", Settings: settings(t, nil), Sink: &fakeSink{begun: time.Now(), fail: down}, Host: sdk.Host{Dir: dir}, Place: Place("a")}
		s := New(t.Context(), o)
		s.PutAll(numbered(0, 700))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		sink := &fakeSink{begun: time.Now()}
		o.Sink = sink
		s = New(t.Context(), o)
		s.PutAll(numbered(700, 700))
		pass(5 * time.Second)
		if diff := gocmp.Diff(texts(0, 1400), sink.delivered()); diff != "" {
			t.Error(diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Two that ship to one place at the same time, gateways with one folder or APIs with other settings, have a spool each; what
// one leaves behind, the other delivers.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		start := func() (*Shipper, *fakeSink) {
			sink := &fakeSink{begun: time.Now(), fail: down}
			return New(t.Context(), Options{Name: "t", Settings: settings(t, nil), Sink: sink, Host: sdk.Host{Dir: dir}}), sink
		}
		first, sink := start()
		second, _ := start()
		for n := range 5 {
			first.PutAll(numbered(10*n, 5))
			second.PutAll(numbered(10*n+5, 5))
			pass(2 * time.Second)
		}
		if stat(first, "spooled") != 25 || stat(second, "spooled") != 25 {
			t.Errorf("%v and %v are on disk", stat(first, "spooled"), stat(second, "spooled"))
		}
		if err := second.Close(); err != nil { // which loses nothing: it has a spool
			t.Error(err)
		}
		sink.set(nil)
		pass(2 * time.Minute)
		first.PutAll(numbered(50, 1))
		pass(time.Minute)
		got := sink.delivered()
		slices.SortFunc(got, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
		if diff := gocmp.Diff(texts(0, 51), got); diff != "" {
			t.Error(diff)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		third, after := start()
		after.set(nil)
		pass(time.Minute)
		if len(after.delivered()) != 0 || stat(third, "dropped") != 0 {
			t.Errorf("again: %v", after.delivered())
		}
		if err := third.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What another left is taken over as far as there is room, and nothing of one's own is dropped for it.
func TestAdoptsWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, folder := range []string{"t-2", "t-3"} {
			s, err := spool.Open(spool.Options{Dir: filepath.Join(dir, folder), Size: 4 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 300 {
				if _, err := s.Append([]Item{{Seq: uint64(n + 1), Body: make([]byte, 10_000)}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		sink := &fakeSink{begun: time.Now(), hold: make(chan struct{})}
		size := Size(4 << 20)
		s := New(t.Context(), Options{Name: "t", Settings: settings(t, func(s *Settings) { s.Spool.Size = &size }), Sink: sink, Host: sdk.Host{Dir: dir}})
		pass(time.Second)
		if n := stat(s, "spooled"); n < 300 || n > 420 {
			t.Errorf("%v taken over at once", n)
		}
		close(sink.hold)
		for range 60 {
			s.Put(nil, []byte("x"))
			pass(time.Second)
		}
		if n := len(sink.delivered()); n != 660 || stat(s, "dropped") != 0 {
			t.Errorf("%d delivered, %v dropped", n, stat(s, "dropped"))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A disk that takes nothing fills no log.
func TestTroubleIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		sink := &fakeSink{begun: time.Now(), fail: down}
		s := New(t.Context(), Options{
			Name: "t", Settings: settings(t, nil), Sink: sink,
			Host: sdk.Host{Dir: file, Log: slog.New(slog.NewTextHandler(&said, nil))},
		})
		for range 60 {
			s.PutAll(numbered(0, 2))
			pass(time.Second)
		}
		_ = s.Close() // which says what is lost
		if n := strings.Count(said.String(), "the spool cannot be used yet"); n < 1 || n > 7 {
			t.Errorf("told %d times", n)
		}
	})
}

// A plugin that takes over from another gets its spool when that lets go, and until then has memory.
func TestTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := &fakeSink{begun: time.Now(), fail: down}
		o := Options{Name: "t", Settings: settings(t, nil), Sink: old, Host: sdk.Host{Dir: t.TempDir()}}
		first := New(t.Context(), o)
		first.PutAll(numbered(0, 5))
		pass(2 * time.Second)
		next := &fakeSink{begun: time.Now(), fail: down}
		o.Sink = next
		second := New(t.Context(), o)
		second.PutAll(numbered(5, 5))
		pass(2 * time.Second)
		if stat(second, "queued") != 5 || stat(second, "spooled") != -1 {
			t.Errorf("stats: %+v", second.Stats())
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		next.set(nil)
		pass(time.Minute)
		if diff := gocmp.Diff(texts(5, 5), next.delivered()[:5]); diff != "" && !gocmp.Equal(texts(0, 10), next.delivered()) {
			t.Error(next.delivered())
		}
		if len(next.delivered()) != 10 || stat(second, "spooled") != 0 {
			t.Errorf("delivered %v; %+v", next.delivered(), second.Stats())
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
}

// With spool.always everything is on disk before it is sent, and batches still form.
func TestAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), hold: make(chan struct{})}
		s := New(t.Context(), Options{Name: "t", Sink: sink, Host: sdk.Host{Dir: t.TempDir()}, Settings: settings(t, func(s *Settings) { s.Spool.Always = true })})
		s.PutAll(numbered(0, 3))
		s.PutAll(numbered(3, 3))
		if stat(s, "queued") != 0 || stat(s, "spooled") != 6 {
			t.Errorf("stats: %+v", s.Stats())
		}
		close(sink.hold)
		pass(10 * time.Second)
		if diff := gocmp.Diff([]call{{time.Second, 6}}, sink.made(), gocmp.AllowUnexported(call{})); diff != "" {
			t.Error(diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What the other side says of a batch holds: not now, not so much, never.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now()}
		var refused []string
		s := New(t.Context(), Options{Name: "t", Settings: settings(t, noSpool), Sink: sink, Rejected: func(items []Item, err error) {
			for _, i := range items {
				refused = append(refused, string(i.Body)+" "+err.Error())
			}
		}})
		sink.set(func(n int, _ []Item) (int, error) {
			if n == 1 {
				return 0, RetryAfter(90*time.Second, errDown)
			}
			return 0, nil
		})
		s.PutAll(numbered(0, 2))
		pass(3 * time.Minute)
		if calls := sink.made(); len(calls) != 2 || calls[1].at < 91*time.Second || calls[1].at > 92*time.Second {
			t.Errorf("Retry-After: %+v", calls)
		}
		sink.set(func(_ int, items []Item) (int, error) {
			if len(items) > 3 {
				return 0, TooLarge(errDown)
			}
			return 0, nil
		})
		s.PutAll(numbered(2, 10))
		pass(time.Minute)
		if diff := gocmp.Diff(texts(0, 12), sink.delivered()); diff != "" {
			t.Error(diff)
		}
		sink.set(func(_ int, items []Item) (int, error) { // the second of each batch is bad
			if len(items) > 1 {
				return 1, Reject(1, errors.New("bad"))
			}
			return 0, nil
		})
		s.PutAll(numbered(12, 3))
		pass(time.Minute)
		sink.set(func(int, []Item) (int, error) { return 0, Reject(0, errors.New("all bad")) })
		s.PutAll(numbered(15, 2))
		pass(time.Minute)
		if diff := gocmp.Diff([]string{"13 bad", "15 all bad", "16 all bad"}, refused); diff != "" {
			t.Error(diff)
		}
		if diff := gocmp.Diff(append(texts(0, 13), "k:14"), sink.delivered()); diff != "" || stat(s, "rejected") != 3 {
			t.Error(diff, stat(s, "rejected"))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Attempts come ever more rarely, up to the most.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), fail: down}
		s := New(t.Context(), Options{Name: "t", Settings: settings(t, noSpool), Sink: sink})
		s.PutAll(numbered(0, 1))
		pass(10 * time.Minute)
		calls := sink.made()
		for i := range calls[1:] {
			wait := min(500*time.Millisecond<<min(i, 10), 30*time.Second)
			if got := calls[i+1].at - calls[i].at; got < wait/2 || got > wait+time.Second {
				t.Errorf("attempt %d after %v, want %v at most", i+2, got, wait)
			}
		}
		if n := len(calls); n < 20 || n > 60 {
			t.Errorf("%d attempts", n)
		}
		if err := s.Close(); err == nil {
			t.Error("what is lost at the end is not told")
		}
	})
}

// A sink that is too slow for whole batches gets smaller ones, until it keeps up.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &slowSink{}
		s := New(t.Context(), Options{Name: "t", Sink: sink, Settings: settings(t, noSpool)})
		s.PutAll(numbered(0, 400))
		pass(10 * time.Minute)
		if stat(s, "delivered") != 400 || stat(s, "up") != 1 {
			t.Errorf("stats: %+v", s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowSink takes a second for ten items.
type slowSink struct{}

func (slowSink) Send(ctx context.Context, items []Item) (int, error) {
	select {
	case <-time.After(time.Duration(len(items)) * time.Second / 10):
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (slowSink) Close() error { return nil }

// A sink that ignores its context until it must not holds Close no longer than the grace.
func TestCloseGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), hold: make(chan struct{})}
		dir := t.TempDir()
		s := New(t.Context(), Options{Name: "t", Settings: settings(t, nil), Sink: sink, Host: sdk.Host{Dir: dir}})
		s.PutAll(numbered(0, 4))
		begun := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		again := &fakeSink{begun: time.Now()}
		s = New(t.Context(), Options{Name: "t", Settings: settings(t, nil), Sink: again, Host: sdk.Host{Dir: dir}})
		pass(time.Second)
		if err := s.Close(); err != nil || len(again.got) != 4 {
			t.Error(err, again.got)
		}
	})
}

// Memory stays within its bound, however much comes while nothing goes.
func TestMemoryBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fakeSink{begun: time.Now(), fail: down}
		s := New(t.Context(), Options{Name: "t", Sink: sink, Host: sdk.Host{Dir: t.TempDir()}, Settings: settings(t, func(s *Settings) {
			s.Queue.Size, s.Batch.Size = 1<<20, 1<<18
			size := Size(4 << 20)
			s.Spool.Size = &size
		})})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		body := make([]byte, 1000)
		for range 200 {
			items := make([]Item, 100)
			for i := range items {
				items[i].Body = body
			}
			s.PutAll(items)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("%d bytes more in memory", grown)
		}
		if b := stat(s, "spooled_bytes"); b > 4<<20+8<<20/16 {
			t.Errorf("%v bytes on disk", b)
		}
		if all := stat(s, "dropped") + stat(s, "spooled") + stat(s, "queued"); all != 20000 {
			t.Errorf("%v of 20000 accounted for: %+v", all, s.Stats())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSettings(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, ""},
		{``, ""},
		{`{"batch":{"count":5,"size":"64KiB","wait":"250ms"},"spool":{"size":0}}`, ""},
		{`{"batch":{"cuont":5}}`, `unknown field "cuont"`},
		{`{"batch":{"size":"1MB"}}`, "is no size"},
		{`{"retry":{"first":"1m","max":"1s"}}`, "first is longer than max"},
		{`{"retry":{"timeout":"-1s"}}`, "is no duration"},
		{`{"queue":{"count":10}}`, "must fit into the queue"},
		{`{"spool":{"size":5}}`, "at least 1MiB"},
		{`{"spool":{"size":"0","always":true}}`, "there is no spool"},
		{`{"send":{"requests":"some"}}`, "all, errors or none"},
		{`{"send":{"events":"some"}}`, "all or none"},
		{`{"send":{"fields":["request.pth"]}}`, `there is no field "request.pth"`},
		{`{} {}`, "behind the configuration"},
	} {
		var s Settings
		err := Decode([]byte(test.config), &s)
		if err == nil {
			err = s.Complete()
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.config, err, test.want)
		}
	}
}

// pass lets a bubble's time pass, and then everybody come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// An error of a configuration says which setting it is about.
func TestDecode(t *testing.T) {
	type config struct {
		Settings
		Targets []struct {
			Retry RetrySettings `json:"retry"`
			Name  string        `json:"name"`
		} `json:"targets"`
	}
	for text, want := range map[string]string{
		``:                             "",
		`{}`:                           "",
		`{"batch":{"wait":"1"}}`:       `batch.wait: `,
		`{"batch":{"wait":1}}`:         `batch.wait: `,
		`{"batch":{"count":"1"}}`:      `batch.count: must be a whole number, not string`,
		`{"send":{"requests":1}}`:      `send.requests: must be a string, not number`,
		`{"send":[]}`:                  `send: must be a mapping, not array`,
		`{"send":{"headers":"some"}}`:  `send.headers: "some": the word all`,
		`{"send":{"headers":["a b"]}}`: `send.headers[0]: "a b" is no name`,
		`{"send":{"nope":1}}`:          `send.nope: unknown field "nope"`,
		`{"targets":[{"name":"a"},{"name":"b","retry":{"max":"1x"}}]}`: `targets[1].retry.max: `,
		`{"spool":{"size":"1XB"},"batch":{"wait":"1s"}}`:               `spool.size: `,
		`{} {}`: `something stands behind`,
		`[]`:    `json: cannot unmarshal array`,
		`{`:     `unexpected EOF`,
	} {
		err := Decode(json.RawMessage(text), &config{})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
