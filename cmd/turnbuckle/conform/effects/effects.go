// Package effects compares what the hooks of CONFORMANCE.md do on a plugin server with what they do in Go.
package effects

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// scene is hooks and an exchange. The hooks run on one directly, in Go, and on another through the server; the same must come
// of both.
type scene struct {
	id, section, title string
	phase              sdk.Phase
	setup              func(x *sdk.Exchange) // beyond newExchange
	hooks              []use
	onRoute            bool                       // the configuration is the route's
	unsendable         bool                       // the hook does what no message can carry
	noTyk              bool                       // Tyk's protocol does not carry it
	tyk                func(*sdk.Snapshot)        // what Tyk's protocol makes of it
	also               func(t *kit.Trial, r *run) // more to look at
}

// use is one hook of a scene.
type use struct {
	name  string
	steps []conformance.Step
	note  any
}

func conforms(steps ...conformance.Step) []use { return []use{{name: conformance.Hook, steps: steps}} }

// Cases are the scenes, in each protocol, and what observers are given.
func Cases() []kit.Case {
	all := []kit.Case{
		{
			ID: "server/observer", Protocol: report.Native, Section: "1.8", Title: "observers are given records and events",
			Hooks: []string{conformance.Hook, conformance.Watch}, Run: observer,
		},
	}
	for _, s := range scenes() {
		names := []string{}
		for _, u := range s.hooks {
			if u.name != kit.Absent && !slices.Contains(names, u.name) {
				names = append(names, u.name)
			}
		}
		all = append(all, kit.Case{ID: "effects/" + s.id, Protocol: report.Native, Section: s.section, Title: s.title, Hooks: names, Run: s.run})
		if !s.noTyk {
			all = append(all, kit.Case{ID: "tyk-effects/" + s.id, Protocol: report.Tyk, Section: "2.7", Title: s.title, Hooks: names, Run: s.run})
		}
	}
	return all
}

// backing takes what hooks say.
type backing struct {
	lines   []string
	records []sdk.HookRecord
	peer    []*x509.Certificate
}

var (
	_ sdk.Backing      = (*backing)(nil)
	_ sdk.GroupBacking = (*backing)(nil)
)

// PeerCertificates implements [sdk.Backing].
func (b *backing) PeerCertificates() []*x509.Certificate { return b.peer }

// Log implements [sdk.Backing].
func (b *backing) Log(level slog.Level, message string) { b.HookLog(0, level, message) }

// Count implements [sdk.Backing].
func (b *backing) Count(name string, delta int64) { b.HookCount(0, name, delta) }

// HookDone implements [sdk.GroupBacking].
func (b *backing) HookDone(index int, r sdk.HookRecord) {
	for len(b.records) <= index {
		b.records = append(b.records, sdk.HookRecord{})
	}
	b.records[index] = r
}

// HookLog implements [sdk.GroupBacking].
func (b *backing) HookLog(index int, level slog.Level, message string) {
	b.lines = append(b.lines, fmt.Sprintf("hook %d logs %v %q", index, level, message))
}

// HookCount implements [sdk.GroupBacking].
func (b *backing) HookCount(index int, name string, delta int64) {
	b.lines = append(b.lines, fmt.Sprintf("hook %d counts %s %d", index, name, delta))
}

func (c *scene) exchange() (*sdk.Exchange, *backing) {
	b, x := &backing{}, &sdk.Exchange{}
	route := &sdk.Route{ID: "orders", Name: "Orders", Org: "acme", ListenPath: "/orders/", Bundle: "92eb5ffee6ae2fec3ad71c777531578f"}
	if c.onRoute {
		route.Config = config(c.hooks[0])
	}
	x.Reset(sdk.Init{
		Route: route, Client: netip.MustParseAddrPort("192.0.2.7:4711"), RequestID: "0123456789abcdef", Backing: b,
		Trace: sdk.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "k=v"},
	})
	x.Request().Fill(sdk.RequestInit{
		Method: "GET", Scheme: "https", Host: "api.example.test", Path: "/orders/4%2F2", Query: "page=2&q=a+b&q=%C3%A9",
		URI: "/orders/4%2F2?page=2&q=a+b&q=%C3%A9", Proto: "HTTP/1.1",
	})
	x.Request().Header().Append("Accept", "*/*")
	x.Request().Header().Append("X-One", "1")
	x.Request().LoadBody(nil)
	if c.phase == sdk.ResponsePhase {
		x.Response().Fill(200, 5)
		for _, line := range [][2]string{{"Content-Type", "text/plain"}, {"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}} {
			x.Response().Header().Append(line[0], line[1])
		}
		x.Response().LoadBody([]byte("hello"))
	}
	if c.setup != nil {
		c.setup(x)
	}
	return x, b
}

func config(u use) []byte {
	b, err := json.Marshal(conformance.Config{Steps: u.steps, Note: u.note})
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return b
}

// run is what came of hooks on one exchange.
type run struct {
	after   sdk.Snapshot
	err     error
	backing *backing
}

// directly runs the scene in Go.
func (c *scene) directly(ctx context.Context) *run {
	p := conformance.Plugin()
	x, b := c.exchange()
	r := &run{backing: b, after: x.Snapshot()}
	for i, u := range c.hooks {
		x.Begin(c.phase, c.own(u), true)
		if len(c.hooks) > 1 {
			x.BeginMember(i)
		}
		spec, ok := p.Find(u.name, c.phase)
		if r.err = sdk.ErrUnimplemented; ok {
			r.err = handle(ctx, spec.Hook, x)
		}
		b.HookDone(i, sdk.HookRecord{Name: u.name, Phase: c.phase, Outcome: sdk.OutcomeOf(r.err, x), Changed: x.Changes()})
		if r.err != nil {
			return r // what this one did is not taken
		}
		r.after = x.Snapshot()
		if x.Answered() && c.phase != sdk.ResponsePhase {
			break
		}
	}
	return r
}

// own is the configuration of a hook when it is not the route's.
func (c *scene) own(u use) []byte {
	if c.onRoute {
		return nil
	}
	return config(u)
}

func handle(ctx context.Context, h sdk.Hook, x *sdk.Exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, p)
		}
	}()
	if err := h.Handle(ctx, x); err != nil {
		return err
	}
	return x.Invalid()
}

// through runs the scene on the server.
func (c *scene) through(ctx context.Context, server coprocess.Server) (*run, error) {
	x, b := c.exchange()
	var hooks []sdk.Hook
	for _, u := range c.hooks {
		h, err := server.Hook(sdk.HookUse{Name: u.name, Phase: c.phase, Config: c.own(u), Route: x.Route()})
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, h)
	}
	hook := hooks[0]
	if len(hooks) > 1 {
		group, ok := server.Group(hooks)
		if !ok {
			return nil, errors.New("the runtime makes no group of these hooks")
		}
		hook = group
	}
	x.Begin(c.phase, c.own(c.hooks[0]), false)
	err := handle(ctx, hook, x)
	return &run{after: x.Snapshot(), err: err, backing: b}, nil
}

func (c scene) run(ctx context.Context, t *kit.Trial) error {
	server, err := t.Runtime(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	want := c.directly(ctx)
	got, err := c.through(ctx, server)
	if err != nil {
		return err
	}
	if got.err != nil && strings.Contains(got.err.Error(), conformance.Unknown) && !strings.Contains(fmt.Sprint(want.err), conformance.Unknown) {
		return t.Skip("the hook does not know a conformance.Step: %v", got.err)
	}
	c.compareErrors(t, want.err, got.err)
	if t.Protocol == report.Tyk && c.tyk != nil && want.err == nil {
		c.tyk(&want.after)
	}
	if _, refused := errors.AsType[*sdk.Error](got.err); refused && t.Protocol == report.Tyk {
		got.after = want.after // the request goes nowhere: what the hook did to it before shows to nobody
	}
	for _, d := range differences(view(&want.after, t.Protocol, c.phase), view(&got.after, t.Protocol, c.phase)) {
		t.Fail("%s", d)
	}
	if t.Protocol == report.Native {
		c.compareNotes(t, want.backing, got.backing)
	}
	if c.also != nil {
		c.also(t, got)
	}
	return nil
}

func (c *scene) compareErrors(t *kit.Trial, want, got error) {
	wanted, isRefusal := errors.AsType[*sdk.Error](want)
	refused, gotRefusal := errors.AsType[*sdk.Error](got)
	switch {
	case want == nil && got != nil:
		t.Fail("the call failed: %v", got)
	case want != nil && got == nil:
		t.Fail("the call did not fail; want %v", want)
	case isRefusal != gotRefusal:
		t.Fail("got %v, want %v", got, want)
	case isRefusal && (refused.Status != wanted.Status || refused.Message != wanted.Message || !slices.Equal(refused.Header, wanted.Header)):
		t.Fail("refused with %d %q %v, want %d %q %v", refused.Status, refused.Message, refused.Header, wanted.Status, wanted.Message, wanted.Header)
	case errors.Is(want, sdk.ErrUnimplemented) && !errors.Is(got, sdk.ErrUnimplemented):
		t.Fail("got %v, want UNIMPLEMENTED", got)
	case c.unsendable && t.Protocol == report.Native && !errors.Is(got, sdk.ErrProtocol):
		t.Warn("got %v, want PROTOCOL", got)
	}
	for _, other := range []error{sdk.ErrUnavailable, sdk.ErrOverloaded, context.Canceled, context.DeadlineExceeded} {
		if got != nil && errors.Is(got, other) {
			t.Fail("got %v", got)
		}
	}
}

func (c *scene) compareNotes(t *kit.Trial, want, got *backing) {
	slices.Sort(want.lines) // logs and counters are separate lists on the wire
	slices.Sort(got.lines)
	if !slices.Equal(want.lines, got.lines) {
		t.Fail("log lines and counters: got %q, want %q", got.lines, want.lines)
	}
	if len(c.hooks) == 1 {
		return
	}
	if len(got.records) != len(want.records) {
		t.Fail("%d hooks ran, want %d", len(got.records), len(want.records))
		return
	}
	for i, w := range want.records {
		g := got.records[i]
		if g.Outcome != w.Outcome || w.Outcome == sdk.OutcomeOK && g.Changed != w.Changed {
			t.Fail("hook %d: %v with %v changed, want %v with %v", i, g.Outcome, g.Changed.Names(), w.Outcome, w.Changed.Names())
		}
	}
}
