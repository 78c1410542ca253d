package host

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// listener keeps what it is told.
type listener struct {
	mu  sync.Mutex
	all []*observe.Explained
}

func (l *listener) Explain(e *observe.Explained) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// reader is a hook that needs the body.
type reader struct{ sdk.Hook }

func (reader) Needs() sdk.Needs { return sdk.Needs{Fields: sdk.NeedBody} }

const explainedAPI = plainAPI + `
hooks:
  pre: [{hook: read}, {hook: mark}, {hook: broken, on_error: skip}, {hook: slow, max_in_flight: 1, on_error: skip}]
  post: [{hook: answer}]
  response: [{hook: sign}]
`

func TestExplain(t *testing.T) {
	told := &listener{}
	g := newGateway(t, time.Minute)
	g.options.Explain = told
	var again func()
	nested := false
	w := newWorld(map[string]sdk.Hook{
		"read": reader{fn(func(x *sdk.Exchange) error {
			x.Request().SetBody([]byte("changed"))
			x.Log(slog.LevelInfo, "read it")
			x.Count("reads", 2)
			return nil
		})},
		"mark":   fn(func(x *sdk.Exchange) error { x.Request().Header().Set("X-Mark", "1"); return nil }),
		"broken": fn(func(x *sdk.Exchange) error { x.Request().Header().Set("X-Broken", "1"); return errors.New("broke") }),
		"slow": fn(func(*sdk.Exchange) error {
			if !nested {
				nested = true
				again()
			}
			return nil
		}),
		"answer": fn(func(x *sdk.Exchange) error {
			if x.Request().Path() == "/a/answered" {
				x.Answer(418, []byte("tea"))
			}
			return nil
		}),
		"sign": fn(func(x *sdk.Exchange) error { return &sdk.Error{Status: 409, Message: "no"} }),
	})
	if err := load(t, g, w, definition(t, explainedAPI)); err != nil {
		t.Fatal(err)
	}
	again = func() { get(t, g, "/a/answered") }
	f, c := newFlow(context.Background(), "POST", "/a/x?q=1", "sent")
	g.Serve(f)
	if c.status != 409 || len(told.all) != 2 {
		t.Fatalf("got %d, explained %d", c.status, len(told.all))
	}
	inner, outer := told.all[0], told.all[1]
	names := func(e *observe.Explained) (all []string) {
		for _, h := range e.Hooks {
			all = append(all, h.Phase.String()+" "+h.Name+" "+h.Outcome.String())
		}
		return all
	}
	want := []string{"pre read ok", "pre mark ok", "pre broken skipped", "pre slow ok", "post answer ok", "response sign refused"}
	if got := names(outer); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	want = []string{"pre read ok", "pre mark ok", "pre broken skipped", "pre slow skipped", "post answer answered"}
	if got := names(inner); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	read, mark, broken := &outer.Hooks[0], &outer.Hooks[1], &outer.Hooks[2]
	if string(read.Before.Request.Body) != "sent" || string(read.After.Request.Body) != "changed" || !read.Called {
		t.Errorf("the body: %+v", read)
	}
	if len(read.Log) != 1 || read.Log[0].Message != "read it" || read.Counts["reads"] != 2 || read.Duration <= 0 {
		t.Errorf("log, counters and time: %+v", read)
	}
	if len(mark.After.Request.Header) != len(mark.Before.Request.Header)+1 || mark.Log != nil {
		t.Errorf("the header: %+v", mark)
	}
	if len(broken.After.Request.Header) != len(mark.After.Request.Header) || broken.Err == nil {
		t.Errorf("what was taken back: %+v", broken)
	}
	if slow := &inner.Hooks[3]; slow.Called || !errors.Is(slow.Err, sdk.ErrOverloaded) {
		t.Errorf("a call that its policy refused: %+v", slow)
	}
	if r := outer.Record; r.Status != 409 || r.AnsweredBy != "sign" || r.Path != "/a/x" || len(r.Hooks) != 6 {
		t.Errorf("the record: %+v", r)
	}
	if outer.Reply.Response.Status != 409 || len(outer.Reply.Response.Body) == 0 {
		t.Errorf("the reply: %+v", outer.Reply.Response)
	}
	if err := g.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// Without an explainer nothing stands around a hook, and nothing is kept.
func TestNotExplained(t *testing.T) {
	g := gateway(t)
	w := newWorld(map[string]sdk.Hook{"mark": fn(func(x *sdk.Exchange) error {
		if explaining(x) != nil {
			t.Error("it is explained")
		}
		return nil
	})})
	if err := load(t, g, w, definition(t, plainAPI+"hooks: {pre: [{hook: mark}]}\n")); err != nil {
		t.Fatal(err)
	}
	step := g.table.Load().routes[0].variants[0].request[0].(*hookStep)
	if _, ok := step.hook.(*explainedHook); ok {
		t.Error("a hook is wrapped for nobody")
	}
	if c := get(t, g, "/a"); c.status != 200 {
		t.Errorf("got %d", c.status)
	}
}
