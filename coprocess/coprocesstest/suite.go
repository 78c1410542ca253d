// Package coprocesstest is the suite that every runtime passes: a hook must do to an exchange, wherever it runs, what it
// does when it is called on the exchange directly. Each case runs both ways and compares what came of it. Where Tyk's
// protocol cannot say what the contract can, the case carries the difference as data.
package coprocesstest

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Open opens the plugin in the runtime under test and returns when calls can succeed. It arranges for the server to be
// closed when the test ends.
type Open func(t *testing.T, p *sdk.Plugin) coprocess.Server

// RunHook runs a plugin's hook of that name in y's phase, for runtimes of languages that the suite's hooks are not written
// in: a function of that language hands the exchange over to it. What y could not carry is an error, as is a panic.
func RunHook(ctx context.Context, p *sdk.Plugin, name string, y *sdk.Exchange) (err error) {
	h, ok := p.Find(name, y.Phase())
	if !ok {
		return sdk.ErrUnimplemented
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, r)
		}
	}()
	if err := h.Hook.Handle(ctx, y); err != nil {
		return err
	}
	return y.Invalid()
}

// Run holds a runtime to the whole contract.
func Run(t *testing.T, open Open) { run(t, open, false) }

// RunTyk holds a runtime that speaks Tyk's protocol to what that can say.
func RunTyk(t *testing.T, open Open) { run(t, open, true) }

func run(t *testing.T, open Open, tyk bool) {
	t.Run("Cases", func(t *testing.T) { runCases(t, open, tyk) })
	t.Run("Refusal", func(t *testing.T) { testRefusal(t, open) })
	t.Run("Failures", func(t *testing.T) { testFailures(t, open) })
	t.Run("Deadline", func(t *testing.T) { testDeadline(t, open) })
	t.Run("Cancel", func(t *testing.T) { testCancel(t, open) })
	t.Run("QuickWhileHeld", func(t *testing.T) { testQuickWhileHeld(t, open) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrent(t, open) })
	if !tyk {
		t.Run("Group", func(t *testing.T) { testGroup(t, open) })
		t.Run("Notes", func(t *testing.T) { testNotes(t, open) })
		t.Run("ConfigSchema", func(t *testing.T) { testConfigSchema(t, open) })
	}
	t.Run("Needs", func(t *testing.T) { testNeeds(t, open, tyk) })
	t.Run("Observer", func(t *testing.T) { testObserver(t, open, tyk) })
}

// wait is how long something that must happen may take.
const wait = 10 * time.Second

// Backing is a backing that remembers what it was told.
type Backing struct {
	Lines   []string // logged and counted
	Records []sdk.HookRecord
	Timings []sdk.CallTimings
	Certs   []*x509.Certificate
}

var (
	_ sdk.Backing      = (*Backing)(nil)
	_ sdk.CallBacking  = (*Backing)(nil)
	_ sdk.GroupBacking = (*Backing)(nil)
)

// PeerCertificates implements [sdk.Backing].
func (b *Backing) PeerCertificates() []*x509.Certificate { return b.Certs }

// Log implements [sdk.Backing].
func (b *Backing) Log(level slog.Level, message string) {
	b.Lines = append(b.Lines, fmt.Sprintf("log %v %s", level, message))
}

// Count implements [sdk.Backing].
func (b *Backing) Count(name string, delta int64) {
	b.Lines = append(b.Lines, fmt.Sprintf("count %s %d", name, delta))
}

// CallDone implements [sdk.CallBacking].
func (b *Backing) CallDone(t sdk.CallTimings) { b.Timings = append(b.Timings, t) }

// HookDone implements [sdk.GroupBacking].
func (b *Backing) HookDone(index int, r sdk.HookRecord) {
	for len(b.Records) <= index {
		b.Records = append(b.Records, sdk.HookRecord{})
	}
	b.Records[index] = r
}

// HookLog implements [sdk.GroupBacking].
func (b *Backing) HookLog(index int, level slog.Level, message string) {
	b.Lines = append(b.Lines, fmt.Sprintf("hook %d: log %v %s", index, level, message))
}

// HookCount implements [sdk.GroupBacking].
func (b *Backing) HookCount(index int, name string, delta int64) {
	b.Lines = append(b.Lines, fmt.Sprintf("hook %d: count %s %d", index, name, delta))
}

// NewExchange returns an exchange of some richness on a route of its own.
func NewExchange() (*sdk.Exchange, *Backing) {
	b := &Backing{}
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{
		Route:     &sdk.Route{ID: "orders", Name: "Orders", Org: "acme", ListenPath: "/orders/", Bundle: "92eb5ffee6ae2fec3ad71c777531578f", Config: []byte(`{"a":1}`)},
		Client:    netip.MustParseAddrPort("192.0.2.7:4711"),
		RequestID: "0123456789abcdef",
		Trace:     sdk.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "k=v"},
		Backing:   b,
	})
	x.Request().Fill(sdk.RequestInit{
		Method: "GET", Scheme: "https", Host: "api.example.test", Path: "/orders/4%2F2", Query: "page=2&q=a+b", URI: "/orders/4%2F2?page=2&q=a+b",
		Proto: "HTTP/1.1", Length: 0,
	})
	x.Request().Header().Append("Accept", "*/*")
	x.Request().Header().Append("X-One", "1")
	x.Request().LoadBody(nil)
	return x, b
}

// caller makes a hook of the server callable by name.
type caller struct {
	t *testing.T
	s coprocess.Server
}

func (c caller) hook(x *sdk.Exchange, name string, phase sdk.Phase, config []byte) sdk.Hook {
	c.t.Helper()
	h, err := c.s.Hook(sdk.HookUse{Name: name, Phase: phase, Config: config, Route: x.Route()})
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// call runs a hook of the server on x as a host does.
func (c caller) call(ctx context.Context, x *sdk.Exchange, name string, phase sdk.Phase, config []byte) error {
	c.t.Helper()
	h := c.hook(x, name, phase, config)
	x.Begin(phase, config, false)
	return handle(ctx, h, x)
}

// handle calls a hook; a change that no message could carry is its failure.
func handle(ctx context.Context, h sdk.Hook, x *sdk.Exchange) error {
	if err := h.Handle(ctx, x); err != nil {
		return err
	}
	return x.Invalid()
}

// limited is a context like the host's: a deadline, no timer of its own.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

// differ compares two snapshots; "" when they are equal.
func differ(want, got sdk.Snapshot) string {
	for _, pair := range [][2]*[]byte{{&want.Request.Body, &got.Request.Body}, {&want.Response.Body, &got.Response.Body}} {
		if len(*pair[0]) > 1024 && bytes.Equal(*pair[0], *pair[1]) {
			*pair[0], *pair[1] = nil, nil // a reader of differences need not see it, and comparing takes seconds
		}
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }))
}

// refusal returns the refusal in err, nil when it is none.
func refusal(err error) *sdk.Error {
	var e *sdk.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// plugin makes a plugin of one hook for any phase.
func plugin(name string, h sdk.HookFunc) *sdk.Plugin {
	return &sdk.Plugin{Name: "suite", Version: "1.0.0", Hooks: []sdk.HookSpec{{Name: name, Hook: h, Needs: sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody | sdk.NeedPeer}}}}
}

// atOnce runs functions at once and waits for them.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}
