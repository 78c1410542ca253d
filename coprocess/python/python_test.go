package python_test

import (
	"archive/zip"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/python"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/internal/pythontest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	pythonsdk "github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

func TestMain(m *testing.M) {
	name, value, _ := strings.Cut(processtest.QuickExit, "=")
	if err := os.Setenv(name, value); err != nil {
		panic(err)
	}
	if keeper.Wanted(os.Args) {
		os.Exit(keeper.Main())
	}
	goleak.VerifyTestMain(m)
}

func unpack(t *testing.T) *python.Shim {
	t.Helper()
	modules, err := pythonsdk.Modules()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	s, err := python.Unpack(modules, filepath.Join(cache, "turnbuckle-test", "shim"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// open starts a plugin and waits until it is loaded, or known not to be.
func open(t *testing.T, o python.Options) *python.Server {
	t.Helper()
	path := pythontest.Any(t)
	if o.Install {
		path = withVenv(t)
	}
	return openWith(t, o, path)
}

// openWith starts a plugin on that interpreter.
func openWith(t *testing.T, o python.Options, path string) *python.Server {
	t.Helper()
	o.Shim = unpack(t)
	o.Interpreter = func(ctx context.Context) (*python.Interpreter, error) { return o.Shim.Find(ctx, path) }
	o.Process.Name = "p"
	s, err := python.Open(t.Context(), o)
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

// call runs a hook on an exchange.
func call(t *testing.T, s *python.Server, name string) (*sdk.Exchange, error) {
	t.Helper()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: &sdk.Route{ID: "shop", Org: "acme"}})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := coprocesstest.NewExchange()
	x.Begin(sdk.Pre, nil, false)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return x, h.Handle(ctx, x)
}

const tykPlugin = `
from tyk.decorators import *
from gateway import TykGateway as tyk
import helper

@Hook
def Greet(request, session, spec):
    request.add_header("Greeting", helper.greeting())
    return request, session

@Hook
def Fail(request, session, spec):
    raise ValueError("no")
`

// A plugin of Tyk's runs as it is; its failures are told by Tyk's rules although its calls travel in batches.
func TestTyk(t *testing.T) {
	dir := folder(t, map[string]string{"middleware.py": tykPlugin, "helper.py": "def greeting():\n    return 'hello'\n"})
	s := open(t, python.Options{Folder: dir, Tyk: true, Workers: 1})
	x, err := call(t, s, "Greet")
	if err != nil || x.Request().Header().Get("Greeting") != "hello" {
		t.Errorf("got %q, %v", x.Request().Header().Get("Greeting"), err)
	}
	if _, err := call(t, s, "Fail"); err == nil {
		t.Error("what it raises is no error")
	}
	if s.Protocol() != "tyk" || s.Server.Protocol() != "native" {
		t.Errorf("protocols %q, %q", s.Protocol(), s.Server.Protocol())
	}
	if err := s.LoadError(); err != nil {
		t.Error(err)
	}
	// Nothing is left in the plugin's own folder.
	if _, err := os.Stat(filepath.Join(dir, "__pycache__")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("compiled files: %v", err)
	}
}

// Tyk's plugins run on whichever CPython there is, from the oldest that is supported to those that have neither imp nor Tyk's
// own loader any more. Where there is no 3.9, examples/python still holds the SDK's sources to it.
func TestVersions(t *testing.T) {
	dir := folder(t, map[string]string{"middleware.py": tykPlugin, "helper.py": "import sys\ndef greeting():\n    return 'hello from %d.%d' % sys.version_info[:2]\n"})
	for _, version := range []string{"3.9", "3.12", "3.13"} {
		t.Run(version, func(t *testing.T) {
			path := pythontest.Version(t, version)
			if path == "" {
				t.Skip("there is no such Python, or no registry")
			}
			s := openWith(t, python.Options{Folder: dir, Tyk: true, Workers: 1}, path)
			if x, err := call(t, s, "Greet"); err != nil || x.Request().Header().Get("Greeting") != "hello from "+version {
				t.Errorf("got %q, %v", x.Request().Header().Get("Greeting"), err)
			}
		})
	}
}

// Files that are named are loaded alone.
func TestFiles(t *testing.T) {
	dir := folder(t, map[string]string{
		"sub/one.py": "from tyk.decorators import *\n@Hook\ndef One(request, session, spec):\n    request.add_header('One', '1')\n    return request, session\n",
		"broken.py":  "import no_such_module\n",
	})
	s := open(t, python.Options{Folder: dir, Tyk: true, Files: []string{"sub/one.py"}, Workers: 1})
	if x, err := call(t, s, "One"); err != nil || x.Request().Header().Get("One") != "1" {
		t.Errorf("got %v", err)
	}
}

// A plugin for our own package.
func TestNative(t *testing.T) {
	dir := folder(t, map[string]string{"greet.py": "def pre(x):\n    x.request.headers.set('Greeting', 'hello')\n"})
	s := open(t, python.Options{Folder: dir, Main: "greet.py", Workers: 2})
	x, err := call(t, s, "pre")
	if err != nil || x.Request().Header().Get("Greeting") != "hello" || s.Protocol() != "native" {
		t.Errorf("got %q, %v, %s", x.Request().Header().Get("Greeting"), err, s.Protocol())
	}
	if _, err := call(t, s, "nothing"); !errors.Is(err, sdk.ErrUnimplemented) {
		t.Errorf("a hook that there is not: %v", err)
	}
}

// What keeps a plugin from being loaded is told, whole, to whoever asks for its hooks.
func TestLoadError(t *testing.T) {
	for name, tt := range map[string]struct {
		text, want string
		kind       string
	}{
		"missing module": {"import no_such_module\n", "there is no module 'no_such_module'", "missing-module"},
		"raises":         {"x = 1 / 0\n", "division by zero", "load"},
		"exits":          {"import sys\nsys.exit('enough')\n", "enough", "load"},
		"syntax":         {"def f(:\n", "SyntaxError", "load"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, python.Options{Folder: folder(t, map[string]string{"middleware.py": tt.text}), Tyk: true, Workers: 1})
			_, err := s.Hook(sdk.HookUse{Name: "Greet", Phase: sdk.Pre, Route: &sdk.Route{ID: "x"}})
			var load *process.LoadError
			if !errors.As(err, &load) || !strings.Contains(err.Error(), tt.want) || load.Kind != tt.kind {
				t.Errorf("got %v (%+v), want %q", err, load, tt.want)
			}
			if load != nil && (!strings.Contains(load.Message, "middleware.py") || !strings.Contains(load.Message, "(Python 3.")) {
				t.Errorf("%q names no file, or no interpreter", load.Message)
			}
		})
	}
}

// A process that ends while it loads the plugin has said nothing: it crashed, and is started again.
func TestDiesLoading(t *testing.T) {
	s := open(t, python.Options{Folder: folder(t, map[string]string{"plugin.py": "import os\nos._exit(5)\n"}), Workers: 1})
	crash := s.Status().Instances[0].LastCrash
	if crash == nil || !strings.Contains(crash.Error, "status 5") || s.LoadError() != nil {
		t.Errorf("got %+v, %v", crash, s.LoadError())
	}
}

// Interpreters that will not do are named, with what to do.
func TestFind(t *testing.T) {
	s := unpack(t)
	bare := filepath.Join(t.TempDir(), "python3")
	if err := os.WriteFile(bare, []byte("#!/bin/sh\necho '{\"ok\": false, \"python\": \"3.8.1\", \"executable\": \"/x\", \"problems\": [\"Python 3.8.1 is too old\"]}'; exit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/no/such/python": "/no/such/python: not found",
		"/bin/false":      "/bin/false: exit status 1",
		"/bin/echo":       "it is no Python 3",
		bare:              "/x (Python 3.8.1): Python 3.8.1 is too old",
	} {
		_, err := s.Find(t.Context(), name)
		if !errors.Is(err, python.ErrNoInterpreter) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "pip install") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	// PATH's is taken before the system's, unless it will not do.
	good := pythontest.Any(t)
	t.Setenv("PATH", filepath.Dir(bare))
	i, err := s.Find(t.Context(), "")
	if good == "/usr/bin/python3" && (err != nil || i.Path != good) {
		t.Errorf("got %v, %v", i, err)
	}
	if good != "/usr/bin/python3" && (err == nil || !strings.Contains(err.Error(), "too old")) {
		t.Errorf("got %v, %v", i, err)
	}
}

// A look finds a program that is there, by name and by path, and never starts it.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "my-python")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n: > \"$0.started\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, name := range []string{path, "my-python"} {
		if err := python.Look(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path + ".started"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was started: %v", err)
	}
	if err := python.Look("other"); !errors.Is(err, python.ErrNoInterpreter) || !strings.Contains(err.Error(), "other: not found") {
		t.Errorf("got %v", err)
	}
	err := python.Look("")
	if _, system := exec.LookPath("/usr/bin/python3"); system == nil {
		if err != nil {
			t.Errorf("the system's is not found: %v", err)
		}
	} else if err == nil || !strings.Contains(err.Error(), "python3: not found; /usr/bin/python3: not found") {
		t.Errorf("got %v", err)
	}
}

// Hooks that wait hold no quick one of the same plugin and worker: here the quick one is what they wait for.
func TestQuickWhileBlocked(t *testing.T) {
	dir := folder(t, map[string]string{"plugin.py": `
import threading
ready, hooks = threading.Event(), {"slow": {}, "quick": {}}
waiting = threading.Semaphore(0)
def slow(x):
    waiting.release()
    if not ready.wait(20):
        raise TimeoutError("no quick call came through")
def quick(x):
    for _ in range(50):
        waiting.acquire()
    ready.set()
`})
	s := open(t, python.Options{Folder: dir, Workers: 1})
	// The first calls of a hook run inline, until one has taken long.
	var all sync.WaitGroup
	run := func(name string) {
		h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: &sdk.Route{ID: "shop"}})
		if err != nil {
			t.Error(err)
			return
		}
		x, _ := coprocesstest.NewExchange()
		x.Begin(sdk.Pre, nil, false)
		ctx, cancel := context.WithTimeout(t.Context(), processtest.Patience)
		defer cancel()
		if err := h.Handle(ctx, x); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 50 {
		all.Go(func() { run("slow") })
	}
	all.Go(func() { run("quick") })
	all.Wait()
}

// A worker that dies is a process that crashed: it is started again.
func TestWorkerDies(t *testing.T) {
	dir := folder(t, map[string]string{"plugin.py": `
import ctypes, os
def pre(x):
    if x.request.headers.get("Die"):
        ctypes.string_at(0)
    x.request.headers.set("Pid", str(os.getpid()))
`})
	s := open(t, python.Options{Folder: dir, Workers: 1})
	h, err := s.Hook(sdk.HookUse{Name: "pre", Phase: sdk.Pre, Route: &sdk.Route{ID: "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	run := func(header string) (string, error) {
		x, _ := coprocesstest.NewExchange()
		x.Begin(sdk.Pre, nil, false)
		if header != "" {
			x.Request().Header().Set(header, "1")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := h.Handle(ctx, x)
		return x.Request().Header().Get("Pid"), err
	}
	before, err := run("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run("Die"); err == nil {
		t.Error("a segmentation fault is no error")
	}
	var after string
	if !processtest.Poll(func() bool { after, err = run(""); return err == nil }) || after == before {
		t.Errorf("the same process, %s, or %v", after, err)
	}
	if st := s.Status(); len(st.Instances) != 1 || st.Instances[0].State != process.StateReady || st.Instances[0].Restarts != 1 {
		t.Errorf("got %+v", st)
	}
}

// wheel writes a package for pip: one module with a word in it.
func wheel(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tbextra-1.0-py3-none-any.whl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, text := range map[string]string{
		"tbextra.py":                     "WORD = 'installed'\n",
		"tbextra-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tbextra\nVersion: 1.0\n",
		"tbextra-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"tbextra-1.0.dist-info/RECORD":   "",
	} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// withVenv returns an interpreter that makes virtual environments.
func withVenv(t *testing.T) string {
	t.Helper()
	for _, path := range []string{pythontest.Any(t), pythontest.Version(t, "")} {
		if path != "" && exec.CommandContext(t.Context(), path, "-I", "-c", "import venv, ensurepip").Run() == nil {
			return path
		}
	}
	t.Skip("there is no interpreter with venv (.ci/install does that on Debian)")
	return ""
}

// What requirements.txt asks for is installed where that is allowed, into an environment that is kept; else it is missing.
func TestInstall(t *testing.T) {
	withVenv(t)
	t.Setenv("PIP_NO_INDEX", "1") // no network
	text := "import tbextra\ndef pre(x):\n    x.request.headers.set('Word', tbextra.WORD)\n"
	dir := folder(t, map[string]string{"plugin.py": text, "requirements.txt": wheel(t) + "\n"})
	var missing *process.LoadError
	if err := open(t, python.Options{Folder: dir, Workers: 1}).LoadError(); !errors.As(err, &missing) || missing.Module != "tbextra" {
		t.Errorf("not allowed: %v", err)
	}
	for range 2 { // the second finds it
		s := open(t, python.Options{Folder: dir, Workers: 1, Install: true})
		if !processtest.Poll(func() bool { return s.Status().Instances[0].Starts > 0 || s.LoadError() != nil }) {
			t.Fatalf("it is not installed in time: %+v", s.Status())
		}
		if x, err := call(t, s, "pre"); err != nil || x.Request().Header().Get("Word") != "installed" {
			t.Errorf("got %q, %v", x.Request().Header().Get("Word"), err)
		}
	}
	if os.Getenv("TURNBUCKLE_SOAK") == "" {
		return // another environment takes its time
	}
	bad := folder(t, map[string]string{"plugin.py": text, "requirements.txt": "no-such-package==1\n"})
	s := open(t, python.Options{Folder: bad, Workers: 1, Install: true})
	if !processtest.Poll(func() bool { return s.LoadError() != nil }) || !strings.Contains(s.LoadError().Error(), "no-such-package") {
		t.Errorf("got %v", s.LoadError())
	}
}
