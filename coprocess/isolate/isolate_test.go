package isolate_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/isolate"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/storehttp"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TestMain makes the test binary a keeper and a script's process too, as the gateway's is.
func TestMain(m *testing.M) {
	name, value, _ := strings.Cut(processtest.QuickExit, "=")
	if err := os.Setenv(name, value); err != nil {
		panic(err)
	}
	switch {
	case keeper.Wanted(os.Args):
		os.Exit(keeper.Main())
	case isolate.Wanted(os.Args):
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		status := isolate.Main(ctx, os.Args, os.Getenv, os.Stderr)
		stop()
		os.Exit(status)
	}
	goleak.VerifyTestMain(m)
}

// open starts a script and waits until it is loaded, or known not to be.
func open(t *testing.T, o process.Options, spec isolate.Spec) *isolate.Server {
	t.Helper()
	spec.Name = "p"
	o.RunDir = t.TempDir()
	if len(o.RunDir) > 40 { // sockets have short paths
		o.RunDir = ""
	}
	s, err := isolate.Open(t.Context(), o, &spec, &script.Counters{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v", s.Status())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), processtest.Patience)
	defer cancel()
	s.Settle(ctx)
	return s
}

func js(text string) isolate.Spec {
	return isolate.Spec{Language: "js", Main: []script.Source{{Name: "main.js", Text: text}}}
}

// caller runs hooks.
func caller(t *testing.T, s *isolate.Server, name string) func() (*sdk.Exchange, error) {
	t.Helper()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: &sdk.Route{ID: "shop", Org: "acme"}})
	if err != nil {
		t.Fatal(err)
	}
	return func() (*sdk.Exchange, error) {
		x, _ := coprocesstest.NewExchange()
		x.Begin(sdk.Pre, nil, false)
		ctx, cancel := context.WithTimeout(t.Context(), processtest.Patience)
		defer cancel()
		return x, h.Handle(ctx, x)
	}
}

// Scripts of both languages do what they do inside the gateway: hooks, files of their folder, the store, requests, logs.
func TestScripts(t *testing.T) {
	db, err := bolt.Open(context.WithoutCancel(t.Context()), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it is thrown away
	lender := storehttp.New(storehttp.Options{Open: func() (script.Storage, error) { return db, nil }})
	loan, err := lender.Lend(t.Context(), storehttp.Borrower{Plugin: "p", Entries: "p", UID: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer loan.Close() //nolint:errcheck // the store's test looks
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("fetched")) }))
	defer web.Close()
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "lib.js"), []byte(`exports.word = "js";`), 0o644),
		os.WriteFile(filepath.Join(dir, "lib.lua"), []byte(`return {word = "lua"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	for language, text := range map[string]string{
		"js": `const lib = require("./lib");
exports.pre = function (x) {
  store.set("k-js", "v", 100);
  x.request.headers.set("Got", [lib.word, store.get("k-js"), store.ttl("k-js"), store.get("none"), store.setNew("k-js", "w"), store.incr("n-js", 3), fetch("` + web.URL + `").text()].join(" "));
  store.del("k-js");
};`,
		"lua": `local lib = require("lib")
function exports.pre(x)
  store.set("k-lua", "v", 100)
  local r = fetch("` + web.URL + `")
  x.request.headers:set("Got", table.concat({lib.word, store.get("k-lua"), tostring(store.ttl("k-lua")), tostring(store.get("none")), tostring(store.setNew("k-lua", "w")), tostring(store.incr("n-lua", 3)), r:text()}, " "))
  store.del("k-lua")
end`,
	} {
		t.Run(language, func(t *testing.T) {
			s := open(t, process.Options{Env: loan.Env()}, isolate.Spec{Language: language, Dir: dir, Main: []script.Source{{Name: "main." + language, Text: text}}})
			x, err := caller(t, s, "pre")()
			got := x.Request().Header().Get("Got")
			if err != nil || !regexp.MustCompile("^"+language+` v (99\.9\d*|100) (nil)? ?false 3 fetched$`).MatchString(got) {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := db.Get(t.Context(), script.StorePrefix("p")+"n-"+language); err != nil {
				t.Errorf("the entry is not in the store: %v", err)
			}
		})
	}
}

// What is wrong with a script is told, with file and line, to whoever asks for its hooks.
func TestLoadError(t *testing.T) {
	s := open(t, process.Options{}, js("\nexports.pre = ("))
	_, err := s.Hook(sdk.HookUse{Name: "pre", Phase: sdk.Pre, Route: &sdk.Route{ID: "x"}})
	var load *process.LoadError
	if !errors.As(err, &load) || !strings.Contains(err.Error(), "main.js:2") {
		t.Errorf("got %v", err)
	}
}

// A script that eats memory beyond what watches inside a process can see is ended by the system's bounds, and started again;
// the gateway's process has nothing of it.
func TestMemory(t *testing.T) {
	o := process.Options{Limits: keeper.Limits{Memory: 400 << 20}}
	spec := isolate.Spec{Language: "lua", Main: []script.Source{{Name: "main.lua", Text: `
function exports.pre(x)
  local all = {}
  while true do all[#all + 1] = string.rep("x", 4194304) end
end
function exports.hello(x) x.request.headers:set("Hello", "yes") end`}}}
	spec.Limits = script.Limits{Heap: 16 << 30, Size: 64 << 20, Time: processtest.Patience}
	s := open(t, o, spec)
	if _, err := caller(t, s, "pre")(); err == nil {
		t.Fatal("it eats no memory")
	}
	hello := caller(t, s, "hello")
	if !processtest.Poll(func() bool {
		x, err := hello()
		return err == nil && x.Request().Header().Get("Hello") == "yes"
	}) {
		t.Error("it is not started again")
	}
	if st := s.Status().Instances[0]; st.Crashes[process.ReasonLimit] != 1 || st.Restarts != 1 {
		t.Errorf("got %+v", st)
	}
}

// A process that is killed takes no other call with it than those it has.
func TestKilled(t *testing.T) {
	s := open(t, process.Options{}, js(`exports.hello = function (x) { x.request.headers.set("Hello", "yes"); };`))
	hello := caller(t, s, "hello")
	if _, err := hello(); err != nil {
		t.Fatal(err)
	}
	command := s.Status().Command
	if err := syscall.Kill(s.Status().Instances[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !processtest.Poll(func() bool { _, err := hello(); return err == nil && s.Status().Instances[0].Restarts == 1 }) {
		t.Error("it is not started again")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(command[2])); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}
