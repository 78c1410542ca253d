package host

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// picky is a world whose plugin servers turn out, once they are known, not to take how a hook is used.
type picky struct {
	*world
	known  bool
	refuse error
}

func (p *picky) Server(d *config.Definition, name string) (Server, error) {
	s, err := p.world.Server(d, name)
	return pickyServer{s, p}, err
}

type pickyServer struct {
	Server
	p *picky
}

func (s pickyServer) Settle(context.Context) { s.p.known = true }

func (s pickyServer) Hook(use sdk.HookUse) (sdk.Hook, error) {
	h, err := s.Server.Hook(use)
	return pickyHook{h, s.p}, err
}

type pickyHook struct {
	sdk.Hook
	p *picky
}

func (h pickyHook) Check() error {
	if h.p.known {
		return h.p.refuse
	}
	return nil
}

// TestHookRefusedOnceKnown: what a server says of a hook's use when it is there refuses the definition: a new one gets
// 503, a changed one leaves the one before in place, and others serve.
func TestHookRefusedOnceKnown(t *testing.T) {
	hook := map[string]sdk.Hook{"h": fn(func(*sdk.Exchange) error { return nil })}
	const hooked = plainAPI + "hooks: {post: [{hook: h}]}"
	other := func() *config.Definition {
		d := definition(t, "listen: {path: /b}\nupstream: {url: http://127.0.0.1:1}\n")
		d.ID, d.Source.File = "b", "b.yaml"
		return d
	}
	g, p := gateway(t), &picky{world: newWorld(hook)}
	set := func(api string) config.Set {
		return config.Set{Definitions: []*config.Definition{definition(t, api), other()}}
	}
	refused := func(err error) {
		t.Helper()
		if want := (*RefusedError)(nil); !errors.As(err, &want) || !strings.Contains(err.Error(), "a.yaml") || !strings.Contains(err.Error(), "$.realm") {
			t.Errorf("got %v, want the definition refused", err)
		}
		if c := get(t, g, "/b/x"); c.status != 200 {
			t.Errorf("the other: got %d", c.status)
		}
	}
	p.refuse = errors.New("$.realm: got number, want string")
	refused(g.Load(t.Context(), set(hooked), p, false))
	if c := get(t, g, "/a/x"); c.status != 503 {
		t.Errorf("got %d, want 503", c.status)
	}
	p.refuse, p.known = nil, false
	if err := g.Load(t.Context(), set(hooked), p, false); err != nil {
		t.Fatal(err)
	}
	p.refuse, p.known = errors.New("$.realm: got number, want string"), false
	refused(g.Load(t.Context(), set(hooked+"\ntags: [new]"), p, false))
	if c := get(t, g, "/a/x"); c.status != 200 {
		t.Errorf("the one before: got %d", c.status)
	}
	for _, s := range g.Status().Routes {
		if s.ListenPath == "/a" && s.State != stateStale {
			t.Errorf("got %+v", s)
		}
	}
}
