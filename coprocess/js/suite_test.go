package js

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dop251/goja"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

func TestMain(m *testing.M) {
	BoundPatterns()
	code := m.Run()
	// regexp2 has a clock that stops by itself, a second after the last match that had a time limit.
	if err := goleak.Find(goleak.IgnoreTopFunction("github.com/dlclark/regexp2/v2.runClock"), goleak.IgnoreTopFunction("time.Sleep")); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// newWatch is a watch for one test.
func newWatch(t testing.TB) *script.Watch {
	w := script.NewWatch()
	t.Cleanup(w.Close)
	return w
}

// bridged adds the function bridge(name, …) to an interface: from the scripts of the suite into hooks of Go.
type bridged struct {
	engine.API
	f func(vm *engine.VM, c goja.FunctionCall) goja.Value
}

func (b bridged) Install(vm *engine.VM) error {
	if err := b.API.Install(vm); err != nil {
		return err
	}
	return vm.Set("bridge", func(c goja.FunctionCall) goja.Value { return b.f(vm, c) })
}

// TestSuite holds hooks against our own interface to the suite: each is a function of JavaScript that has an exchange
// rebuilt from what the script can see, runs the hook on that, and makes the same changes with what the script can call.
func TestSuite(t *testing.T) {
	coprocesstest.Run(t, func(t *testing.T, p *sdk.Plugin) coprocess.Server { return openSuite(t, p) })
}

// TestSuiteExported is the same with the script behind a server, as it is in a process of its own (package isolate).
func TestSuiteExported(t *testing.T) {
	coprocesstest.Run(t, func(t *testing.T, p *sdk.Plugin) coprocess.Server {
		exported, err := serve.New(script.Export(p.Name, openSuite(t, p)), serve.Options{Drain: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "sock"))
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = exported.Serve(context.WithoutCancel(t.Context()), l) })
		s, err := rpc.Open(t.Context(), rpc.Options{Address: "unix:" + l.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			_ = exported.Shutdown(context.WithoutCancel(t.Context()))
			serving.Wait()
		})
		s.Settle(t.Context())
		return s
	})
}

// openSuite opens a script whose hooks are those of the plugin.
func openSuite(t *testing.T, p *sdk.Plugin) *Server {
	text := strings.Builder{}
	text.WriteString("exports.hooks = {}; exports.observers = {};\n")
	for _, h := range p.Hooks {
		fmt.Fprintf(&text, "exports[%q] = function (x) { bridge(%q, x); };\n", h.Name, h.Name)
		said := map[string]any{"needs": needNames(h.Needs.Fields), "headers": append([]string{}, h.Needs.HeaderNames...), "body_limit": h.Needs.BodyLimit}
		if h.Phase != sdk.PhaseUnknown {
			said["phase"] = h.Phase.String()
		}
		about, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "exports.hooks[%q] = %s;\n", h.Name, about)
	}
	for _, o := range p.Observers {
		fmt.Fprintf(&text, "exports.observers[%q] = function (batch) { bridge(%q, null, batch); };\n", o.Name, o.Name)
	}
	if p.ConfigSchema != nil {
		fmt.Fprintf(&text, "exports.config_schema = %s;\n", p.ConfigSchema)
	}
	source := script.Source{Name: "suite.js", Text: text.String()}
	s, err := open(t.Context(), script.Plugin{Name: p.Name, Main: []script.Source{source}, Watch: newWatch(t)}, Options{}, func(a engine.API) engine.API {
		return bridged{a, func(vm *engine.VM, c goja.FunctionCall) goja.Value {
			if x, ok := c.Argument(1).(*goja.Object); ok {
				nativeHook(view{vm, x}, p, c.Argument(0).String())
			} else {
				nativeObserver(view{vm, c.Argument(2)}, p)
			}
			return goja.Undefined()
		}}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func needNames(n sdk.Need) []string {
	names := []string{}
	for i, name := range []string{"headers", "query", "body", "response_headers", "response_body", "session", "values", "peer", "trace"} {
		if (sdk.Needs{Fields: n}).Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// view is a value of JavaScript, used as a script uses it.
type view struct {
	vm *engine.VM
	v  goja.Value
}

func (v view) get(name string) view { return view{v.vm, v.v.(*goja.Object).Get(name)} }
func (v view) set(name string, to any) {
	if err := v.v.(*goja.Object).Set(name, to); err != nil {
		panic(err)
	}
}
func (v view) text(name string) string { return engine.Bytes(v.get(name).v) }
func (v view) num(name string) int64   { return v.get(name).v.ToInteger() }

// call calls a method.
func (v view) call(name string, args ...goja.Value) view {
	f, ok := goja.AssertFunction(v.get(name).v)
	if !ok {
		panic(v.vm.JS.NewTypeError(name + " is no function"))
	}
	out, err := f(v.v, args...)
	if err != nil {
		panic(err)
	}
	return view{v.vm, out}
}

func (v view) bytes(name string) []byte { return v.call(name).v.Export().([]byte) }

// list are the elements of an array.
func (v view) list() []view {
	var all []view
	v.vm.JS.ForOf(v.v, func(item goja.Value) bool {
		all = append(all, view{v.vm, item})
		return true
	})
	return all
}

// viewBacking tells the script's exchange what the hook logs and counts.
type viewBacking struct {
	sdk.Backing
	x view
}

func (b viewBacking) Log(level slog.Level, message string) {
	b.x.call("log", b.x.vm.Text(level.String()), b.x.vm.Text(message))
}
func (b viewBacking) Count(name string, delta int64) {
	b.x.call("count", b.x.vm.Text(name), b.x.vm.JS.ToValue(delta))
}

func nativeHook(x view, p *sdk.Plugin, name string) {
	var y sdk.Exchange
	phase, _ := sdk.ParsePhase(x.text("phase"))
	needs := sdk.Needs{}
	if h, ok := p.Find(name, phase); ok {
		needs = h.Needs
	}
	rebuild(x, &y, needs)
	var err error
	x.vm.Outside(func(ctx context.Context) error {
		err = coprocesstest.RunHook(ctx, p, name, &y)
		return ctx.Err()
	})
	refused := (*sdk.Error)(nil)
	switch {
	case errors.As(err, &refused):
		header := view{x.vm, x.vm.JS.NewObject()}
		for _, f := range refused.Header {
			header.set(f.Name, x.vm.Text(f.Value))
		}
		x.call("refuse", x.vm.JS.ToValue(refused.Status), x.vm.Text(refused.Message), header.v)
	case err != nil:
		x.vm.Fail(err)
	}
	replay(x, &y)
}

// rebuild makes an exchange of what the script sees.
func rebuild(x view, y *sdk.Exchange, needs sdk.Needs) {
	route, q, r := x.get("route"), x.get("request"), x.get("response")
	var config []byte
	if text, _ := x.vm.Stringify(x.get("config").v); text != "null" {
		config = []byte(text)
	}
	addr, err := netip.ParseAddr(x.text("client"))
	if err != nil {
		x.vm.Fail(err)
	}
	y.Reset(sdk.Init{
		Route: &sdk.Route{
			ID: route.text("id"), Name: route.text("name"), Org: route.text("org"), ListenPath: route.text("listen_path"),
			Bundle: route.text("bundle"), Config: config,
		},
		Client: netip.AddrPortFrom(addr, uint16(x.num("client_port"))), RequestID: x.text("request_id"),
		Trace:   sdk.Trace{Parent: x.get("trace").text("parent"), State: x.get("trace").text("state")},
		Backing: viewBacking{x: x},
	})
	y.Request().Fill(sdk.RequestInit{
		Method: q.text("method"), Scheme: q.text("scheme"), Host: q.text("host"), Path: q.text("path"), Query: q.get("query").text("raw"),
		URI: q.text("uri"), Proto: q.text("proto"), Length: q.num("length"),
	})
	fill(q.get("headers"), y.Request().Header())
	if needs.Has(sdk.NeedBody) {
		y.Request().LoadBody(q.bytes("bytes"))
	}
	phase, err := sdk.ParsePhase(x.text("phase"))
	if err != nil {
		x.vm.Fail(err)
	}
	if phase == sdk.ResponsePhase {
		y.Response().Fill(int(r.num("status")), r.num("length"))
		fill(r.get("headers"), y.Response().Header())
		y.Response().LoadBody(r.bytes("bytes"))
	}
	if who := x.get("session").v; !goja.IsNull(who) {
		text, _ := x.vm.Stringify(who)
		s, err := session.Decode(text)
		if err != nil {
			x.vm.Fail(err)
		}
		y.BeginSession(s)
	}
	for _, name := range []string{"before", "gone"} {
		if v := x.call("rawValue", x.vm.Text(name)).v; !goja.IsUndefined(v) {
			y.BeginValue(name, []byte(engine.Bytes(v)))
		}
	}
	y.Begin(phase, config, true)
	if name := x.get("request"); name.text("length") == "-1" {
		x.vm.Throw("the suite's bodies have a length")
	}
}

func fill(headers view, h *sdk.Header) {
	for _, pair := range headers.call("entries").list() {
		h.Append(pair.text("0"), pair.text("1"))
	}
}

// replay makes the changes of y as the script would.
func replay(x view, y *sdk.Exchange) {
	changed, q, vm := y.Changes(), x.get("request"), x.vm
	if changed&sdk.ChangedMethod != 0 {
		q.set("method", vm.Text(y.Request().Method()))
	}
	if changed&sdk.ChangedPath != 0 {
		q.set("path", vm.Text(y.Request().Path()))
	}
	if changed&sdk.ChangedQuery != 0 {
		q.get("query").set("raw", vm.Text(y.Request().Query().Raw()))
	}
	replayHeader(q.get("headers"), y.Request().Header())
	if changed&sdk.ChangedBody != 0 {
		q.call("setBody", vm.Uint8Array(y.Request().Body()))
	}
	if changed&sdk.ChangedSession != 0 {
		who := goja.Value(goja.Null())
		if y.Session() != nil {
			text, err := session.Encode(y.Session(), true)
			if err != nil {
				vm.Fail(err)
			}
			who = vm.Parse(text)
		}
		x.call("setSession", who)
	}
	for i := range y.Values() {
		v := &y.Values()[i]
		switch {
		case v.Changed() && v.Data == nil:
			x.call("setRawValue", vm.Text(v.Name), goja.Undefined())
		case v.Changed():
			x.call("setRawValue", vm.Text(v.Name), vm.Text(string(v.Data)))
		}
	}
	r := y.Response()
	if changed&sdk.ChangedAnswer != 0 {
		x.call("answer", vm.JS.ToValue(r.Status()), goja.Undefined(), vm.Text(string(r.Body())))
	} else {
		if changed&sdk.ChangedStatus != 0 {
			x.get("response").set("status", r.Status())
		}
		if changed&sdk.ChangedResponseBody != 0 {
			x.get("response").call("setBody", vm.Text(string(r.Body())))
		}
	}
	replayHeader(x.get("response").get("headers"), r.Header())
}

func replayHeader(to view, h *sdk.Header) {
	for _, op := range h.HeaderOps() {
		switch name, value := to.vm.Text(op.Name), to.vm.Text(op.Value); op.Kind {
		case sdk.HeaderSet:
			to.call("set", name, value)
		case sdk.HeaderAdd:
			to.call("add", name, value)
		case sdk.HeaderDel:
			to.call("del", name)
		}
	}
}

func nativeObserver(batch view, p *sdk.Plugin) {
	var b sdk.Batch
	for _, r := range batch.get("records").list() {
		one := sdk.Record{RequestID: r.text("request_id"), Status: int(r.num("status"))}
		for range r.get("hooks").list() {
			one.Hooks = append(one.Hooks, sdk.HookRecord{})
		}
		b.Records = append(b.Records, one)
	}
	for _, e := range batch.get("events").list() {
		b.Events = append(b.Events, sdk.Event{Type: e.text("type"), Route: e.text("route")})
	}
	batch.vm.Outside(func(ctx context.Context) error { return p.Observers[0].Observer.Observe(ctx, b) })
}
