package run

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/state"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name+".next"); err != nil {
		t.Fatal(err)
	}
	rename(t, name+".next", name)
}

// watching is a gateway that has its files watched until ctx ends, and whose worker the test is.
func watching(ctx context.Context, s config.Settings) *gateway {
	s.Watch = true
	if s.Policies == "" {
		s.Policies = filepath.Join(filepath.Dir(s.APIs), "policies")
	}
	g := &gateway{sight: &sight{log: slog.New(slog.DiscardHandler)}, jobs: make(chan job), stopped: ctx.Done()}
	g.now.Store(&generation{s: &s})
	return g
}

// Every way in which files change is noticed.
func TestWatch(t *testing.T) {
	tests := []struct {
		name          string
		before, after func(t *testing.T, dir string)
	}{
		{"file written", func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "1") }, func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "2") }},
		{"file renamed into its place, as editors do",
			func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "1") },
			func(t *testing.T, d string) { put(t, d+"/x", "2"); rename(t, d+"/x", d+"/apis/a.yaml") }},
		{"file removed",
			func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "1") },
			func(t *testing.T, d string) { _ = os.Remove(d + "/apis/a.yaml") }},
		{"folder made later", func(*testing.T, string) {}, func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "1") }},
		{"folder in another's place",
			func(t *testing.T, d string) { put(t, d+"/apis/a.yaml", "1"); put(t, d+"/new/a.yaml", "2") },
			func(t *testing.T, d string) { rename(t, d+"/apis", d+"/old"); rename(t, d+"/new", d+"/apis") }},
		{"link to a folder pointed elsewhere",
			func(t *testing.T, d string) {
				put(t, d+"/v1/a.yaml", "1")
				put(t, d+"/v2/a.yaml", "2")
				link(t, "v1", d+"/apis")
			},
			func(t *testing.T, d string) { link(t, "v2", d+"/apis") }},
		{"a config map's ..data",
			func(t *testing.T, d string) {
				put(t, d+"/apis/..1/a.yaml", "1")
				put(t, d+"/apis/..2/a.yaml", "2")
				link(t, "..1", d+"/apis/..data")
				link(t, "..data/a.yaml", d+"/apis/a.yaml")
			},
			func(t *testing.T, d string) { link(t, "..2", d+"/apis/..data") }},
		{"plugin folder", func(t *testing.T, d string) { put(t, d+"/plugins.d/p/plugin.yaml", "1") },
			func(t *testing.T, d string) { put(t, d+"/plugins.d/p/plugin.yaml", "2") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tt.before(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			g := watching(ctx, config.Settings{APIs: dir + "/apis", Plugins: dir + "/plugins.d"})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = g.watch(ctx)
			}()
			reloaded := func() {
				t.Helper()
				select {
				case j := <-g.jobs:
					j.done <- nil
				case <-time.After(processtest.Patience):
					t.Fatal("the change is not noticed")
				}
			}
			waitWatched(t, g, dir)
			tt.after(t, dir)
			reloaded()
			put(t, dir+"/apis/next.yaml", "") // what is there now is watched, too
			reloaded()
			cancel()
			<-ended
		})
	}
}

// A folder is noticed although none of those above it were there when the gateway started, whether they are made at
// once or one after the other.
func TestWatchFarFolder(t *testing.T) {
	for name, steps := range map[string][]string{"at once": {"a/b/apis"}, "in steps": {"a", "a/b", "a/b/apis"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			g := watching(ctx, config.Settings{APIs: dir + "/a/b/apis", Plugins: dir + "/plugins.d"})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = g.watch(ctx)
			}()
			reloaded := func(what string) {
				t.Helper()
				select {
				case j := <-g.jobs:
					j.done <- nil
				case <-time.After(processtest.Patience):
					t.Fatal(what + " is not noticed")
				}
			}
			waitWatched(t, g, dir)
			for _, step := range steps {
				if err := os.MkdirAll(filepath.Join(dir, step), 0o755); err != nil {
					t.Fatal(err)
				}
				reloaded(step)
			}
			put(t, dir+"/a/b/apis/a.yaml", "")
			reloaded("a file in it")
			cancel()
			<-ended
		})
	}
}

// waitWatched causes changes until one is noticed, and takes the reloads that come of them.
func waitWatched(t *testing.T, g *gateway, dir string) {
	t.Helper()
	tick := time.NewTicker(3 * settleTime) // each change settles before the next
	defer tick.Stop()
	probe := dir + "/plugins.d"
	if _, err := os.Stat(probe); err == nil {
		probe += "/probe"
	}
	for n := 0; ; n++ {
		select {
		case j := <-g.jobs:
			j.done <- nil
			return
		case <-tick.C:
			if n%2 == 0 {
				put(t, probe+"/x", "1")
			} else {
				_ = os.RemoveAll(probe)
			}
		case <-time.After(processtest.Patience):
			t.Fatal("nothing is watched")
		}
	}
}

// A folder that is written to all the time is read all the same.
func TestWatchDoesNotStarve(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/apis/a.yaml", "1")
	ctx, cancel := context.WithCancel(t.Context())
	g := watching(ctx, config.Settings{APIs: dir + "/apis", Plugins: dir + "/plugins.d"})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.watch(ctx)
	}()
	tick := time.NewTicker(settleTime / 5)
	defer tick.Stop()
	for late := time.After(processtest.Patience); ; {
		select {
		case j := <-g.jobs:
			j.done <- nil
			cancel()
			<-ended
			return
		case <-tick.C:
			put(t, dir+"/apis/a.yaml", "more")
		case <-late:
			t.Fatal("never read")
		}
	}
}

// What is asked while the gateway stops is told so at once.
func TestReloadWhileStopping(t *testing.T) {
	stopped := make(chan struct{})
	close(stopped)
	g := &gateway{jobs: make(chan job), stopped: stopped}
	if err := g.reload(t.Context()); !errors.Is(err, host.ErrClosing) {
		t.Errorf("got %v", err)
	}
}

// A reload that comes when the gateway is told to stop is nobody's fault: no error is logged.
func TestReloadWhileClosing(t *testing.T) {
	var said bytes.Buffer
	dir := t.TempDir()
	s := config.DefaultSettings()
	s.APIs, s.Plugins, s.Store.Path = filepath.Join(dir, "apis"), filepath.Join(dir, "plugins.d"), filepath.Join(dir, "data")
	if err := os.Mkdir(s.APIs, 0o755); err != nil {
		t.Fatal(err)
	}
	g := &gateway{ctx: t.Context(), o: &Options{Source: &settings.Source{}}, sight: newSight(t.Context(), &said, config.Log{}, remote.Identity{})}
	g.servers, g.targets = outside.NewServers(g.sight.log, "test"), outside.NewTargets()
	g.builtins = builtin.New(g.sight.log, nil)
	gen := &generation{s: &s, state: state.New(t.Context(), state.Options{Settings: &s, Log: g.sight.log, TLS: outside.PluginTLS})}
	gen.bundles = g.newShelf(&s, nil)
	if _, err := gen.bundles.Get(); err != nil {
		t.Fatal(err)
	}
	gen.host = host.New(t.Context(), host.Options{Log: g.sight.log, Metrics: g.sight.metrics, Shared: gen.state})
	if err := errors.Join(gen.host.Close(t.Context()), gen.state.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := g.redefine(t.Context(), gen); !errors.Is(err, host.ErrClosing) || strings.Contains(said.String(), "level=ERROR") {
		t.Errorf("got %v, and said %s", err, said.String())
	}
}
