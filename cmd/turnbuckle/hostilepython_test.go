package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/internal/pythontest"
)

// hostilePlugin does what the path says.
const hostilePlugin = `import ctypes, os, sys
from tyk.decorators import *

@Hook
def Hostile(request, session, spec):
    what = request.object.url.rsplit("/", 1)[-1]
    if what == "raise":
        raise ValueError("no")
    if what == "exit":
        sys.exit(3)
    if what == "end":
        os._exit(3)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "block":
        ctypes.PyDLL(None).sleep(600)
    request.add_header("Hostile", "tame")
    return request, session
`

// hostileState is how long it may take until the state of a hostile plugin is as documented.
const hostileState = 12 * time.Second

func pythonAPI(id, folder string) string {
	return strings.NewReplacer("ID", id, "FOLDER", folder).Replace(`{"api_id": "ID", "name": "ID", "org_id": "acme", "use_keyless": true,
 "proxy": {"listen_path": "/ID/", "target_url": "http://${UP}/"},
 "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
 "custom_middleware": {"driver": "python", "pre": [{"name": "Hostile", "path": "FOLDER"}]}}`)
}

// Whatever a plugin in Python does, its call fails as documented, it takes calls again within 12 s, and calls on other routes
// go on meanwhile, those of other plugins in Python included. The gateway's process has no part in it.
func TestHostilePython(t *testing.T) {
	interpreter := pythontest.Any(t)
	up := start(t, "", environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/hostile.json": pythonAPI("hostile", "mw/hostile"), "apis/quick.json": pythonAPI("quick", "mw/quick"),
		"apis/missing.json":        pythonAPI("missing", "mw/missing"),
		"mw/hostile/middleware.py": hostilePlugin, "mw/quick/middleware.py": hostilePlugin,
		"mw/missing/middleware.py": "import no_such_module\n" + hostilePlugin,
	}, map[string]string{"UP": up.address})
	g := startGateway(t, dir, []string{"TURNBUCKLE_LOAD_TIMEOUT=60s"}, "--python", interpreter)

	if got := ask(t, g.url+"/missing/x"); statusOf(got) != "503" {
		t.Errorf("a plugin that cannot be loaded: %s", got)
	}
	if got := g.control("GET", "/v1/routes"); !strings.Contains(got, "there is no module 'no_such_module'") || !strings.Contains(got, "(Python 3.") {
		t.Errorf("why the API is refused is not told: %s", got)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	var served atomic.Int64
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := ask(t, g.url+"/quick/x"); statusOf(got) != "200" || !strings.Contains(got, "Hostile: tame") {
				t.Errorf("another route: %s", got)
				return
			}
			served.Add(1)
		}
	})
	for _, what := range []string{"raise", "exit", "end", "segfault", "block"} {
		before, begun := served.Load(), time.Now()
		if got := ask(t, g.url+"/hostile/"+what); statusOf(got) != "500" || !strings.Contains(got, "Middleware error") {
			t.Errorf("%s: %s", what, got)
		}
		until(t, "a call after "+what, func() bool { return statusOf(ask(t, g.url+"/hostile/x")) == "200" })
		if took := time.Since(begun); took > hostileState {
			t.Errorf("%s: the plugin took calls again after %v", what, took)
		}
		until(t, "a call on another route beside "+what, func() bool { return served.Load() > before })
	}
	close(stop)
	others.Wait()
	if got := g.metric(`turnbuckle_plugin_process_restarts_total\{.*\}`); got == 0 {
		t.Error("no restart of the first worker, where three have ended or were ended")
	}
}

// No interpreter is loaded into the gateway.
func TestNoPythonInside(t *testing.T) {
	interpreter := pythontest.Any(t)
	up := start(t, "", environment(), "upstream")
	dir := folder(t, map[string]string{"apis/quick.json": pythonAPI("quick", "mw/quick"), "mw/quick/middleware.py": hostilePlugin}, map[string]string{"UP": up.address})
	g := startGateway(t, dir, []string{"TURNBUCKLE_LOAD_TIMEOUT=60s"}, "--python", interpreter, "--dumpable")
	if got := ask(t, g.url+"/quick/x"); statusOf(got) != "200" {
		t.Fatal(got)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", g.Pid()))
	if err != nil {
		t.Skip(err)
	}
	if strings.Contains(string(maps), "python") {
		t.Errorf("the gateway has mapped:\n%s", maps)
	}
}
