// Package remotetest is for the tests of plugins: it puts one behind the wire, as a plugin server of its own is, so that it can
// be held to the same out of the gateway's process.
package remotetest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// Serve serves p on a socket with sdk/serve and returns it with hooks and observers that reach it there, through coprocess/rpc:
// what they are given, and what they do, is encoded, sent and decoded. Everything else of it is p's own. The test closes it; the server ends with the
// test.
func Serve(t *testing.T, p *sdk.Plugin) *sdk.Plugin {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, err := serve.New(p, serve.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.WithoutCancel(t.Context()), l) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Shutdown(context.WithoutCancel(t.Context())), <-done); err != nil {
			t.Errorf("plugin server: %v", err)
		}
	})
	client, err := rpc.Open(t.Context(), rpc.Options{Address: "unix:" + path, Protocol: rpc.Native, RetryEvery: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("connection to the plugin server: %v", err)
		}
	})
	remote := *p
	remote.Hooks, remote.Observers = nil, nil
	for _, h := range p.Hooks {
		h.Hook = sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			client.Settle(ctx)
			there, err := client.Hook(sdk.HookUse{Name: h.Name, Phase: x.Phase(), Route: &sdk.Route{ID: "remote"}})
			if err != nil {
				return err
			}
			return there.Handle(ctx, x)
		})
		remote.Hooks = append(remote.Hooks, h)
	}
	for _, o := range p.Observers {
		remote.Observers = append(remote.Observers, sdk.ObserverSpec{Name: o.Name, Observer: &observer{t: t, p: p, to: client.Observer(o.Name)}})
	}
	return &remote
}

// observer waits until the plugin has taken what it was sent: a server drops what comes faster than that, and a gateway counts
// it, which is not what is tested.
type observer struct {
	t     *testing.T
	p     *sdk.Plugin
	to    sdk.Observer
	taken float64
}

// RecordNeeds implements [sdk.RecordNeeder]: what the server says the observer wants.
func (o *observer) RecordNeeds() sdk.RecordNeeds {
	o.until(func() bool { return !errors.Is(o.to.Observe(o.t.Context(), sdk.Batch{}), sdk.ErrUnavailable) })
	needer, _ := o.to.(sdk.RecordNeeder)
	return needer.RecordNeeds()
}

// Observe implements [sdk.Observer].
func (o *observer) Observe(ctx context.Context, b sdk.Batch) error {
	o.until(func() bool { return !errors.Is(o.to.Observe(ctx, sdk.Batch{}), sdk.ErrUnavailable) }) // it connects by itself
	if err := o.to.Observe(ctx, b); err != nil {
		return err
	}
	o.taken += float64(len(b.Records) + len(b.Events))
	o.until(func() bool { return o.accepted() >= o.taken })
	return nil
}

func (o *observer) accepted() float64 {
	all := 0.0
	for _, s := range o.p.Stats() {
		if s.Name == "accepted" || s.Name == "rejected" || s.Name == "statsd_accepted" {
			all += s.Value
		}
	}
	return all
}

func (o *observer) until(holds func() bool) {
	o.t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			o.t.Fatal("the plugin server has not taken what it was sent")
		}
	}
}
