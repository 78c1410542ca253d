package host

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Requests go on while gateways take one another's place, also those that picked the old one just before; each gets its
// reply.
func TestSucceedLosesNothing(t *testing.T) {
	w := newWorld(nil)
	d := at(t, "a", "/a", "")
	var now atomic.Pointer[Gateway]
	first := newGateway(t, time.Second)
	if err := load(t, first, w, d); err != nil {
		t.Fatal(err)
	}
	now.Store(first)
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				if c := get(t, now.Load(), "/a"); c.status != 200 {
					t.Errorf("got %d", c.status)
					return
				}
			}
		})
	}
	for range 50 {
		old, next := now.Load(), newGateway(t, time.Second)
		next.Inherit(old)
		if err := load(t, next, w, d); err != nil {
			t.Fatal(err)
		}
		now.Store(next)
		next.Succeed(old)
		if err := old.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop()
	workers.Wait()
	if c := get(t, first, "/a"); c.status != 200 {
		t.Errorf("a straggler got %d", c.status)
	}
	if status, _ := first.Ready(); status != 200 {
		t.Errorf("the first tells %d of the last", status)
	}
}

// A definition that is refused goes on, stale, in the gateway that succeeds; one that served and cannot is told as lost.
func TestInherit(t *testing.T) {
	w := newWorld(nil)
	old, next := gateway(t), gateway(t)
	good, other := at(t, "a", "/a", ""), at(t, "b", "/b", "")
	good.Source.File, other.Source.File = "a.yaml", "b.yaml"
	if err := load(t, old, w, good, other); err != nil {
		t.Fatal(err)
	}
	next.Inherit(old)
	broken := config.Set{Definitions: []*config.Definition{other}, Refused: []config.Refused{{
		File: "a.yaml", Problems: config.Problems{{Severity: config.SeverityError, Message: "broken"}},
	}}}
	var refused *RefusedError
	if err := next.Load(t.Context(), broken, w, false); !errors.As(err, &refused) || len(refused.Refusals) != 1 || refused.Refusals[0].State != stateStale {
		t.Fatalf("got %v", err)
	}
	if lost := next.Lost(old); lost != nil {
		t.Errorf("lost %v", lost)
	}
	next.Succeed(old)
	if c := get(t, next, "/a"); c.status != 200 {
		t.Errorf("got %d", c.status)
	}
	third := gateway(t)
	third.Inherit(next)
	set := config.Set{Refused: []config.Refused{{File: "b.yaml", Identity: config.Identity{ID: "b", ListenPath: "/b"},
		Problems: config.Problems{{Severity: config.SeverityError, Message: "no such server"}}}}}
	if err := third.Load(t.Context(), set, nowhere{w}, false); err == nil {
		t.Fatal("nothing is refused")
	}
	lost := third.Lost(next)
	if len(lost) != 1 || lost[0].ID != "b" || !strings.Contains(lost[0].Reason, "no such server") {
		t.Errorf("lost %+v", lost)
	}
	if err := third.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if c := get(t, next, "/b"); c.status != 200 {
		t.Errorf("got %d", c.status)
	}
}

// nowhere is a world without upstreams.
type nowhere struct{ *world }

func (nowhere) Upstream(*config.Definition, string) (Upstream, error) {
	return nil, errors.New("no upstream")
}
