package coprocesstest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A testCase is a hook and an exchange. It runs directly and through the runtime, with the same outcome.
type testCase struct {
	name   string
	phase  sdk.Phase
	config []byte
	setup  func(x *sdk.Exchange) // beyond NewExchange
	hook   func(x *sdk.Exchange) error
	// noTyk says why Tyk's protocol cannot carry the case; "": it can.
	noTyk string
	// tyk changes what is expected where Tyk's protocol says it differently.
	tyk func(s *sdk.Snapshot)
}

// Why cases do not run with Tyk's protocol.
const (
	oneValue   = "the protocol carries the first value of a name only"
	notCarried = "the protocol does not carry it"
	textOnly   = "the protocol carries text only"
	authOnly   = "sessions are taken from auth hooks only"
)

func cases() []testCase {
	var all []testCase
	for _, part := range [][]testCase{requestCases(), bodyCases(), answerCases(), sessionCases(), valueCases(), responseCases()} {
		all = append(all, part...)
	}
	return all
}

func runCases(t *testing.T, open Open, tyk bool) {
	all := cases()
	p := &sdk.Plugin{Name: "suite", Version: "1.0.0"}
	for i := range all {
		c := &all[i]
		p.Hooks = append(p.Hooks, sdk.HookSpec{
			Name: c.name, Phase: c.phase, Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error { return c.hook(x) }),
			Needs: sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody | sdk.NeedPeer},
		})
	}
	server := caller{t, open(t, p)}
	for i := range all {
		c := &all[i]
		t.Run(c.name, func(t *testing.T) {
			if tyk && c.noTyk != "" {
				t.Skip(c.noTyk)
			}
			c.compare(t, server, tyk)
		})
	}
}

func (c *testCase) compare(t *testing.T, server caller, tyk bool) {
	direct, _ := c.exchange()
	direct.Begin(c.phase, c.config, true)
	wantErr := handle(limited(t), sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error { return c.hook(x) }), direct)
	want := direct.Snapshot()

	remote, _ := c.exchange()
	gotErr := server.call(limited(t), remote, c.name, c.phase, c.config)
	got := remote.Snapshot()
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("got error %v, want %v", gotErr, wantErr)
	}
	if wantErr != nil {
		untouched, _ := c.exchange()
		untouched.Begin(c.phase, c.config, true)
		want = untouched.Snapshot() // what a failing hook did is not taken
	} else if tyk && c.tyk != nil {
		c.tyk(&want)
	}
	if d := differ(want, got); d != "" {
		t.Errorf("directly (-) and through the runtime (+) differ:\n%s", d)
	}
	if wantErr == nil && !tyk && direct.Changes() != remote.Changes() {
		t.Errorf("got changes %v, want %v", remote.Changes().Names(), direct.Changes().Names())
	}
}

func (c *testCase) exchange() (*sdk.Exchange, *Backing) {
	x, b := NewExchange()
	if c.phase == sdk.ResponsePhase {
		x.Response().Fill(200, 5)
		x.Response().Header().Append("Content-Type", "text/plain")
		x.Response().Header().Append("Set-Cookie", "a=1")
		x.Response().Header().Append("Set-Cookie", "b=2")
		x.Response().LoadBody([]byte("hello"))
	}
	if c.setup != nil {
		c.setup(x)
	}
	return x, b
}

// echo writes what the hook sees into one header, so that a comparison of exchanges compares it.
func echo(x *sdk.Exchange, parts ...string) error {
	x.Request().Header().Set("X-Echo", strings.Join(parts, "|"))
	return nil
}

func requestCases() []testCase {
	return []testCase{
		{name: "nothing", phase: sdk.Pre, hook: func(*sdk.Exchange) error { return nil }},
		{name: "sees the request", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			r := x.Request()
			return echo(x, r.Method(), r.Scheme(), r.Host(), r.Path(), r.Query().Raw(), r.URI(), r.Target(), r.Header().Get("accept"), x.Phase().String())
		}},
		{name: "sees protocol, client, id and trace", phase: sdk.Pre, noTyk: notCarried, hook: func(x *sdk.Exchange) error {
			return echo(x, x.Request().Proto(), x.ClientAddr().String(), x.RequestID(), x.Trace().Parent, x.Trace().State)
		}},
		{name: "sees the route", phase: sdk.Post, hook: func(x *sdk.Exchange) error {
			return echo(x, x.Route().ID, x.Route().Org, x.Route().Bundle, string(x.Config()))
		}},
		{name: "sees the route's names", phase: sdk.Post, noTyk: notCarried, hook: func(x *sdk.Exchange) error {
			return echo(x, x.Route().Name, x.Route().ListenPath)
		}},
		{name: "has a configuration", phase: sdk.Pre, config: []byte(`{"own":"é"}`), hook: func(x *sdk.Exchange) error {
			return echo(x, string(x.Config()))
		}},
		{name: "sets headers", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-One", "changed")
			x.Request().Header().Set("X-New", "")
			return nil
		}},
		{name: "deletes headers", phase: sdk.PostKeyAuth, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Del("x-one")
			x.Request().Header().Del("Absent")
			return nil
		}},
		{name: "adds headers", phase: sdk.Pre, noTyk: oneValue, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Add("x-one", "2")
			x.Request().Header().Add("X-Two", "1")
			x.Request().Header().Add("X-Two", "2")
			return nil
		}},
		{name: "sees all values in order", phase: sdk.Pre, noTyk: oneValue, setup: func(x *sdk.Exchange) {
			x.Request().Header().Append("x-one", "2")
			x.Request().Header().Append("X-Other", "")
			x.Request().Header().Append("X-ONE", "3")
		}, hook: func(x *sdk.Exchange) error {
			var all []string
			for n, v := range x.Request().Header().All() {
				all = append(all, n+"="+v)
			}
			return echo(x, all...)
		}},
		{name: "keeps bytes that are not text", phase: sdk.Pre, noTyk: textOnly, setup: func(x *sdk.Exchange) {
			x.Request().Header().Append("X-Bytes", "caf\xe9 \xff")
		}, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-More", x.Request().Header().Get("X-Bytes")+"\x80")
			return nil
		}},
		{name: "keeps 10000 headers", phase: sdk.Pre, setup: func(x *sdk.Exchange) {
			for i := range 10_000 {
				x.Request().Header().Append(fmt.Sprintf("X-H%d", i), "v")
			}
		}, hook: func(x *sdk.Exchange) error {
			return echo(x, fmt.Sprint(x.Request().Header().Has("X-H9999")))
		}},
		{name: "changes the method", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().SetMethod("PATCH")
			return nil
		}},
		{name: "changes the path", phase: sdk.Post, hook: func(x *sdk.Exchange) error {
			x.Request().SetPath("/orders/%2e%2e//x")
			return nil
		}},
		{name: "changes the query", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Query().Set("page", "3")
			x.Request().Query().Del("q")
			return nil
		}},
		{name: "keeps a strange query", phase: sdk.Pre, setup: func(x *sdk.Exchange) {
			x.Request().Query().SetRaw("a=1&a=2&%zz&;&=&b")
		}, hook: func(x *sdk.Exchange) error { return echo(x, x.Request().Query().Get("a")) }},
		{name: "writes an invalid header", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-Bad", "a\r\nInjected: b")
			return nil
		}},
		{name: "writes an invalid name", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Add("X Bad", "a")
			return nil
		}},
		{name: "writes an invalid path", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().SetPath("no slash")
			return nil
		}},
		{name: "writes an invalid query", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Query().SetRaw("a b")
			return nil
		}},
	}
}

func bodyCases() []testCase {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	load := func(b []byte) func(x *sdk.Exchange) {
		return func(x *sdk.Exchange) { x.Request().LoadBody(b) }
	}
	return []testCase{
		{name: "sees the body", phase: sdk.Pre, setup: load([]byte("text")), hook: func(x *sdk.Exchange) error {
			return echo(x, string(x.Request().Body()), fmt.Sprint(x.Request().Length(), x.Request().Buffered()))
		}},
		{name: "sees a body that is not text", phase: sdk.Pre, setup: load([]byte{0, 0xff, '\n'}), hook: func(x *sdk.Exchange) error {
			return echo(x, fmt.Sprintf("%x", x.Request().Body()))
		}},
		{name: "replaces the body", phase: sdk.Pre, setup: load([]byte("text")), hook: func(x *sdk.Exchange) error {
			x.Request().SetBody([]byte{1, 0xff})
			return nil
		}},
		{name: "empties the body", phase: sdk.Post, setup: load([]byte("text")), hook: func(x *sdk.Exchange) error {
			x.Request().SetBody(nil)
			return nil
		}},
		{name: "keeps a large body", phase: sdk.Pre, setup: load(large), hook: func(x *sdk.Exchange) error {
			return echo(x, fmt.Sprint(len(x.Request().Body())))
		}},
		{name: "replaces a large body", phase: sdk.Pre, setup: load(large), hook: func(x *sdk.Exchange) error {
			x.Request().SetBody(bytes.ToUpper(x.Request().Body()))
			return nil
		}},
	}
}

func answerCases() []testCase {
	return []testCase{
		{name: "answers", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			h := x.Answer(418, []byte("short and stout")).Header()
			h.Set("Content-Type", "text/plain")
			h.Set("X-Pot", "tea")
			return nil
		}},
		{name: "answers simply", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Answer(200, []byte("ok")).Header().Set("X-Pot", "tea")
			return nil
		}},
		{name: "answers with nothing", phase: sdk.Auth, hook: func(x *sdk.Exchange) error {
			x.Answer(204, nil)
			return nil
		}},
		{name: "answers with many headers", phase: sdk.Pre, noTyk: oneValue, hook: func(x *sdk.Exchange) error {
			h := x.Answer(200, []byte{0xff}).Header()
			h.Add("Set-Cookie", "a=1")
			h.Add("Set-Cookie", "b=2")
			return nil
		}},
		{name: "answers and changes the request", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-Seen", "yes")
			x.Answer(200, []byte("ok"))
			return nil
		}},
		{name: "answers with an absurd status", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Answer(1000, nil)
			return nil
		}},
		{name: "fails", phase: sdk.Pre, hook: func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-Half", "done")
			return fmt.Errorf("no")
		}},
	}
}
