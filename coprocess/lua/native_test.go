package lua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Each expression is true in a pre hook with all needs.
func TestAPI(t *testing.T) {
	for _, e := range []string{
		`x.phase == "pre"`, `x.route.id == "orders" and x.route.listen_path == "/orders/"`, `x.config.a == 1`, `x.config == x.config`, `x.client == "192.0.2.7"`,
		`x.client_port == 4711`, `x.request_id == "0123456789abcdef"`, `x.trace.state == "k=v"`, `x.peer == nil`, `x.session == nil`, `x.answered == false`,
		`q.method == "GET"`, `q.path == "/orders/4%2F2"`, `q.scheme == "https"`, `q.host == "api.example.test"`, `q.proto == "HTTP/1.1"`,
		`q.uri == "/orders/4%2F2?page=2&q=a+b"`, `q.target == q.uri`, `q.length == 4`, `q:text() == "\0\255ab"`, `q:bytes() == q:text()`,
		`h:get("x-one") == "1"`, `h:get("absent") == nil`, `#h:getAll("absent") == 0`, `h:has("ACCEPT")`, `h:entries()[2][1] == "X-One"`,
		`(function() h:add("x-one", "2") return h:getAll("X-One")[2] == "2" end)()`, `(function() h:set("X-L", {"a", "b"}) return #h:getAll("X-L") == 2 end)()`,
		`(function() h:set("X-L", {}) return not h:has("X-L") end)()`, `(function() h:del("X-One") return not h:has("X-One") end)()`, `(function() h:set("X-N", 5) return h:get("X-N") == "5" end)()`,
		`q.query:get("q") == "a b"`, `q.query.raw == "page=2&q=a+b"`, `q.query:entries()[1][1] == "page"`, `q.query:get("no") == nil`, `q.query:has("page")`,
		`(function() q.query:set("page", "3") q.query:del("q") return q.query.raw == "page=3" end)()`, `(function() q.query.raw = "a=1" return q.query:get("a") == "1" end)()`,
		`(function() q.method = "PUT" q.path = "/v2" .. q.path return q.target == "/v2/orders/4%2F2?page=2&q=a+b" and q.method == "PUT" end)()`,
		`(function() q:setBody('{"a":[1,2]}') return q:json().a[2] == 2 end)()`, `(function() q:setBody(nil) return q:text() == "" and q.length == 0 end)()`,
		`(function() x:setValue("v", {1, "a", true}) return x:value("v")[2] == "a" and x:rawValue("v") == '[1,"a",true]' end)()`, `x:value("none") == nil`,
		`(function() x:setRawValue("v", "\255") return x:rawValue("v") == "\255" end)()`,
		`(function() x:authenticate("k", "me") return x.session.key_id == "k" and x.session.alias == "me" end)()`,
		`(function() x:setSession({key_id = "k", meta_data = {a = "b"}, rate = 1.5}) return x.session.meta_data.a == "b" and x.session.rate == 1.5 end)()`,
		`(function() x:setSession(nil) return x.session == nil end)()`,
		`base64.encode("a\255") == "Yf8="`, `base64.decode("Yf8") == "a\255"`, `base64.urlEncode("\255\254") == "__4"`, `base64.urlDecode("__4=") == "\255\254"`, `not pcall(base64.decode, "%")`,
		`hex.encode("\255") == "ff"`, `hex.decode("FF") == "\255"`, `crypto.sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`,
		`crypto.sha1("a", "base64") == "hvfkN/qlp/zhXR3cuerq6jd2Z7g="`, `#crypto.sha512("", "bytes") == 64`, `crypto.hmac("sha256", "k", "d") ~= crypto.hmac("sha256", "k", "e")`,
		`crypto.equal("a", "a") and not crypto.equal("a", "b")`, `#crypto.random(8) == 16`, `#crypto.uuid() == 36`, `now() > 1.7e9`, `not pcall(crypto.hmac, "md5", "k", "d")`,
		`not pcall(function() return x.nothing end)`, `not pcall(function() x.phase = "post" end)`, `not pcall(function() h.x = 1 end)`, `not pcall(h.get, "X-One")`,
		`not pcall(x.refuse, x, 200, "")`, `not pcall(store.get, "k")`, `not pcall(fetch, "http://x")`, `tostring(x) == "the exchange"`, `getmetatable(x) == false`,
		`not pcall(x.setSession, x, {rate = "x"})`, `not pcall(x.setValue, x, "v", print)`, `x.response.status == 0`,
	} {
		s := openScript(t, script.Plugin{}, Options{}, `exports.hooks = {h = {needs = {"default", "body", "peer"}}}
			function exports.h(x) local q, h = x.request, x.request.headers assert((`+e+`) == true) end`)
		if _, err := outcome(t, s, "h", sdk.Pre, func(x *sdk.Exchange) { x.Request().LoadBody([]byte("\x00\xffab")) }); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
}

// TestFailureIsUndone: whatever a hook did before it failed, refused or went over a bound is undone.
func TestFailureIsUndone(t *testing.T) {
	const change = `x.request.headers:set("X-Out", "half") x.request.query:set("a", "1") x.request.method = "PUT" x:answer(200, nil, "half") x:authenticate("k") x:setValue("v", 1) `
	for name, end := range map[string]string{
		"raises": `error("no")`, "refuses": `x:refuse(402, "pay", {["X-Price"] = "3"})`, "refuses and catches": `pcall(x.refuse, x, 402, "pay", {["X-Price"] = {"3"}})`,
		"invalid": `x.request.headers:set("X-Bad", "a\nb")`, "a status that is none": `x:answer(1000)`, "size": `("x"):rep(1e9)`,
	} {
		s := openScript(t, script.Plugin{}, Options{}, `function exports.pre(x) `+change+end+` end`)
		x, err := outcome(t, s, "pre", sdk.Pre, nil)
		refused := (*sdk.Error)(nil)
		if errors.As(err, &refused) != strings.HasPrefix(name, "refuses") || err == nil {
			t.Errorf("%s: got %v", name, err)
		} else if refused != nil && (refused.Status != 402 || refused.Message != "pay" || len(refused.Header) != 1) {
			t.Errorf("%s: got %+v", name, refused)
		}
		if x.Answered() || x.Session() != nil || x.Value("v") != nil || out(x) != "" || x.Request().Method() != "GET" || x.Changes() != 0 {
			t.Errorf("%s: left %+v, changes %v", name, x.Snapshot(), x.Changes().Names())
		}
	}
}

// TestKept: what a script keeps of an exchange throws afterwards.
func TestKept(t *testing.T) {
	s := openScript(t, script.Plugin{}, Options{}, `local kept = {}
		function exports.pre(x)
			local old = kept
			kept = {x, x.request, x.request.headers, x.request.query, x.response}
			for i, use in ipairs{function(v) return v.phase end, function(v) return v.path end, function(v) return v:get("a") end, function(v) return v.raw end, function(v) return v.status end} do
				if old[i] then assert(not pcall(use, old[i])) else use(kept[i]) end
			end
		end`)
	for range 2 {
		if _, err := outcome(t, s, "pre", sdk.Pre, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	w := newWatch(t)
	for text, want := range map[string]string{
		"function exports.pre(": `plugin "p": main.lua:`, "\nerror('at load')": `plugin "p": main.lua:2: at load`, "while true do end": `plugin "p": main.lua:1: context deadline exceeded`,
		"exports.hooks = {absent = {}}": "absent", "exports.hooks = {h = {needs = {'all'}}} exports.h = print": `unknown need "all"`, "exports = 1": "not a table",
		"exports.config_schema = {type = 1} exports.h = print": "schema", "exports.hooks = {h = {phase = 'x'}} exports.h = print": "unknown phase",
		"require('absent')": "has no folder", "local s = ('x'):rep(1e9)": "too large",
	} {
		limits := script.Limits{Time: time.Minute}
		if strings.HasPrefix(text, "while") {
			limits.Time = 50 * time.Millisecond
		}
		_, err := Open(t.Context(), script.Plugin{Name: "p", Main: []script.Source{{Name: "main.lua", Text: text}}, Watch: w, Limits: limits}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// TestFolder: plugin folders, require within them and never outside, isolation, unsafe libraries.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("../outside.lua", "return 1")
	write("lib/names.lua", `local n = 0 return {next = function() n = n + 1 return n end}`)
	write("lib/bad.lua", "\n\nreturn nil + 1")
	write("main.lua", `local names = require("lib.names")
		assert(require("./lib/names.lua") ~= nil and not pcall(require, "../outside") and not pcall(require, "/etc/passwd"))
		function exports.pre(x) x.request.headers:set("X-Out", names.next() .. tostring(os.getenv)) end
		function exports.bad(x) require("lib.bad") end`)
	w := newWatch(t)
	open := func(r Runtime) *Server {
		r.Watch = w
		s, err := r.Open(t.Context(), coprocess.Plugin{Name: "folder", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s.(*Server)
	}
	pooled, fresh, allowed := open(Runtime{}), open(Runtime{Fresh: true}), open(Runtime{Options: Options{Allow: []interp.Library{interp.OS}}})
	for i := 1; i <= 3; i++ {
		if x, err := outcome(t, pooled, "pre", sdk.Pre, nil); err != nil || out(x) != fmt.Sprint(i, "nil")[:1]+"nil" {
			t.Errorf("pooled: got %v, %q", err, out(x))
		}
		if x, err := outcome(t, fresh, "pre", sdk.Pre, nil); err != nil || out(x) != "1nil" {
			t.Errorf("fresh: got %v, %q", err, out(x))
		}
	}
	if x, err := outcome(t, allowed, "pre", sdk.Pre, nil); err != nil || !strings.HasPrefix(out(x), "1function") {
		t.Errorf("allowed: got %v, %q", err, out(x))
	}
	var e *script.Error
	if _, err := outcome(t, pooled, "bad", sdk.Pre, nil); !errors.As(err, &e) || e.File != "lib/bad.lua" || e.Line != 3 || e.Plugin != "folder" {
		t.Errorf("got %v", err)
	}
}

func TestFetch(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		w.Header()["X-Two"] = []string{"1", "2"}
		w.WriteHeader(201)
		fmt.Fprintf(w, `{"method":%q,"a":%q}`, r.Method, r.Header.Get("A"))
	}))
	defer upstream.Close()
	defer upstream.Client().CloseIdleConnections()
	s := openScript(t, script.Plugin{Services: script.Services{HTTP: script.NewHTTP(upstream.Client(), script.HTTPLimits{})}}, Options{}, `
		local url = "`+upstream.URL+`"
		function exports.pre(x)
			local r = fetch(url, {method = "POST", headers = {A = "b"}, body = "\255", timeout = 5})
			assert(r.status == 201 and r.ok and r:json().method == "POST" and r:json().a == "b" and r.headers:getAll("x-two")[2] == "2" and not pcall(r.headers.set, r.headers, "a", "b"))
		end
		function exports.hang(x) pcall(fetch, url .. "/hang") while true do pcall(fetch, url .. "/hang") end end`)
	if _, err := outcome(t, s, "pre", sdk.Pre, nil); err != nil {
		t.Error(err)
	}
	x, _ := coprocesstest.NewExchange()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := hookOf(t, s, x, "hang", sdk.Pre).Handle(ctx, x); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestQuarantine: a plugin that goes over its bounds again and again is held, tried again, and set free when it keeps to them.
func TestQuarantine(t *testing.T) {
	s := openScript(t, script.Plugin{Limits: script.Limits{Strikes: 2, Hold: 20 * time.Millisecond}}, Options{}, `
		function exports.pre(x) if x.request.headers:has("X-Bad") then ("x"):rep(1e9) end end`)
	bad := func(x *sdk.Exchange) { x.Request().Header().Append("X-Bad", "1") }
	for range 2 {
		if _, err := outcome(t, s, "pre", sdk.Pre, bad); !errors.Is(err, script.ErrSize) {
			t.Errorf("got %v", err)
		}
	}
	_, err := outcome(t, s, "pre", sdk.Pre, nil)
	if !errors.Is(err, script.ErrQuarantined) || !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), `"scripts"`) {
		t.Errorf("got %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.Quarantined() && time.Now().Before(deadline); {
		_, err = outcome(t, s, "pre", sdk.Pre, nil)
	}
	c := s.Counters()
	if err != nil || s.Quarantined() || c.Quarantines.Load() != 1 || c.Oversized.Load() != 2 || c.Refused.Load() == 0 || c.Discarded.Load() != 2 {
		t.Errorf("got %v, held %v, %d quarantines, %d oversized", err, s.Quarantined(), c.Quarantines.Load(), c.Oversized.Load())
	}
}

// TestQuickWhileSpinning: calls of one plugin end while another's spins, and closing a plugin ends its calls.
func TestQuickWhileSpinning(t *testing.T) {
	w := newWatch(t)
	limits := script.Limits{Time: time.Minute}
	spinning := openScript(t, script.Plugin{Watch: w, Limits: limits}, Options{}, `function exports.pre(x) x:log("info", "begun") while true do end end`)
	quick := openScript(t, script.Plugin{Watch: w, Limits: limits}, Options{}, `function exports.pre(x) x.request.headers:set("X-Out", "quick") end`)
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var x sdk.Exchange
		y, _ := coprocesstest.NewExchange()
		x.Reset(sdk.Init{Route: y.Route(), Backing: &begins{begun: begun}})
		h, err := spinning.Hook(sdk.HookUse{Name: "pre", Phase: sdk.Pre, Route: y.Route()})
		if err == nil {
			x.Begin(sdk.Pre, nil, false)
			err = h.Handle(t.Context(), &x)
		}
		ended <- err
	}()
	<-begun
	for range 100 {
		if x, err := outcome(t, quick, "pre", sdk.Pre, nil); err != nil || out(x) != "quick" {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("the spinning call ended: %v", err)
	default:
	}
	if err := spinning.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// begins tells when a hook logs.
type begins struct {
	coprocesstest.Backing
	begun chan struct{}
}

func (b *begins) Log(slog.Level, string) { close(b.begun) }

// TestConcurrent: a hundred requests share a plugin, each with its own data in globals.
func TestConcurrent(t *testing.T) {
	s := openScript(t, script.Plugin{}, Options{Tyk: true}, `function h(request, session, spec)
		mine = request.headers["X-Number"]
		for i = 1, 100 do assert(mine == request.headers["X-Number"]) end
		request.set_headers["X-Out"] = mine
		return request end`)
	x, _ := coprocesstest.NewExchange()
	h := hookOf(t, s, x, "h", sdk.Pre)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			for range 10 {
				x, _ := coprocesstest.NewExchange()
				x.Request().Header().Append("X-Number", fmt.Sprint(i))
				x.Begin(sdk.Pre, nil, false)
				if err := h.Handle(t.Context(), x); err != nil || out(x) != fmt.Sprint(i) {
					t.Errorf("%d: got %v, %q", i, err, out(x))
				}
			}
		})
	}
	all.Wait()
}

// TestReopen: plugins opened and closed a thousand times leave nothing behind.
func TestReopen(t *testing.T) {
	w := newWatch(t)
	cycle := func(n int) {
		for range n {
			s, err := Open(t.Context(), script.Plugin{Name: "p", Main: []script.Source{{Name: "m.lua", Text: `function exports.pre(x) coroutine.wrap(function() coroutine.yield() end)() x.request.headers:set("X-Out", "1") end`}}, Watch: w}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := outcome(t, s, "pre", sdk.Pre, nil); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	cycle(50)
	ignore, before := goleak.IgnoreCurrent(), heap()
	cycle(1000)
	if after := heap(); after > before+2<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	goleak.VerifyNone(t, ignore)
}

func FuzzScript(f *testing.F) {
	f.Add(`return request, session`)
	f.Add(`request.set_headers = {a = {}} return request`)
	f.Add(`for k, v in pairs(object) do object[k] = nil end return object.request, request`)
	f.Add(`return setmetatable({}, {__index = request}), {metadata = {token = string.rep("x", 9)}}`)
	w := script.NewWatch()
	f.Cleanup(w.Close)
	f.Fuzz(func(t *testing.T, body string) {
		p := script.Plugin{Name: "fuzz", Main: []script.Source{{Name: "f.lua", Text: "function h(request, session, spec)\n" + body + "\nend"}}, Watch: w}
		p.Limits = script.Limits{Time: 20 * time.Millisecond, Heap: 32 << 20, Size: 1 << 20}
		s, err := Open(t.Context(), p, Options{Tyk: true})
		if err != nil {
			return
		}
		defer func() { _ = s.Close() }()
		for _, phase := range []sdk.Phase{sdk.Pre, sdk.Auth, sdk.ResponsePhase} {
			x, _ := coprocesstest.NewExchange()
			x.Begin(phase, nil, false)
			before := x.Snapshot()
			err := s.Dispatch(t.Context(), coprocess.NewBinding(sdk.HookUse{Name: "h", Phase: phase, Route: x.Route()}), x)
			if e := (*script.Error)(nil); errors.As(err, &e) && fmt.Sprintf("%+v", before.Request) != fmt.Sprintf("%+v", x.Snapshot().Request) {
				t.Errorf("a failed hook left %+v", x.Snapshot())
			}
		}
	})
}

// A record has the headers that its observer asked for.
func TestRecordHeaders(t *testing.T) {
	s := openScript(t, script.Plugin{}, Options{}, `
		exports.observers = {Watch = function(batch)
			local r, none = batch.records[1], batch.records[2]
			assert(#r.header == 2 and r.header[2][1] == "X-A" and r.header[2][2] == "\255", "header")
			assert(#r.reply_header == 1 and r.reply_header[1][1] == "C" and r.header_cut, "reply")
			assert(#none.header == 0 and not none.header_cut, "none")
		end}`)
	record := sdk.Record{Header: []sdk.Field{{Name: "X-A", Value: "b"}, {Name: "X-A", Value: "\xff"}}, ReplyHeader: []sdk.Field{{Name: "C", Value: ""}}, HeaderCut: true}
	if err := s.Observer("Watch").Observe(t.Context(), sdk.Batch{Records: []sdk.Record{record, {}}}); err != nil {
		t.Error(err)
	}
}
