package session

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// within is a context whose deadline the session alone looks at, so that a call always gets as far as the session.
func within(t *testing.T, d time.Duration) context.Context {
	return quiet{context.WithoutCancel(t.Context()), time.Now().Add(d)}
}

// TestNeverAcknowledged: a server that does not acknowledge while calls time out ends the session; what was not sent may
// go elsewhere.
func TestNeverAcknowledged(t *testing.T) {
	s, p := connect(t, Limits{AckWait: 30 * time.Millisecond})
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	p.receive()
	waits := start(t.Context(), s, "/waits", nil)
	until(t, "queueing", func() bool { return s.Stats().InFlight == 2 })
	if r := finish(t, start(within(t, 5*time.Millisecond), s, "/late", nil)); !errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", r.err)
	}
	want(t, finish(t, sent), sdk.ErrUnavailable, false)
	want(t, finish(t, waits), sdk.ErrUnavailable, true)
	<-s.Leaving()
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "not acknowledged a frame") {
		t.Errorf("got %v", err)
	}
	if s.Condition() != Ended || s.Load() < endedLoad {
		t.Errorf("got condition %v, load %d of a session that ended", s.Condition(), s.Load())
	}
}

// TestPostNeverAcknowledged: so does one that leaves a batch waiting.
func TestPostNeverAcknowledged(t *testing.T) {
	s, p := connect(t, Limits{AckWait: time.Nanosecond})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	if err := s.Post(t.Context(), []byte{8 << 3, 1}); err != nil {
		t.Fatal(err)
	}
	p.receive()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Post(ctx, []byte{8 << 3, 1}); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	<-s.Done()
}

// TestSlowToAcknowledge: as long as nobody runs out of time a server may take its own, whoever leaves.
func TestSlowToAcknowledge(t *testing.T) {
	s, p := connect(t, Limits{AckWait: time.Nanosecond})
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	f := p.receive()
	ctx, cancel := context.WithCancel(t.Context())
	left := start(ctx, s, "/left", nil)
	until(t, "queueing", func() bool { return s.Stats().InFlight == 2 })
	cancel()
	want(t, finish(t, left), context.Canceled, false)
	p.send(answer(f))
	if r := finish(t, sent); r.path != "/sent" {
		t.Errorf("got %+v", r)
	}
}

// TestLostCredit: a session whose credit went to cancelled calls that are never answered asks to be replaced as soon as
// others fail for want of it, and goes on meanwhile.
func TestLostCredit(t *testing.T) {
	s, p := connect(t, Limits{LostWait: 10 * time.Millisecond})
	p.send(&pluginv1.PluginFrame{Credit: 3})
	<-s.Ready()
	held := start(t.Context(), s, "/held", nil)
	first := p.receive()
	p.send(&pluginv1.PluginFrame{Ack: first.Seq})
	held2 := start(t.Context(), s, "/held2", nil)
	second := p.receive()
	p.send(&pluginv1.PluginFrame{Ack: second.Seq})
	lost := start(within(t, 5*time.Millisecond), s, "/lost", nil)
	p.send(&pluginv1.PluginFrame{Ack: p.receive().Seq})
	want(t, finish(t, lost), context.DeadlineExceeded, false)
	p.send(&pluginv1.PluginFrame{Ack: p.receive().Seq}) // the cancel
	select {
	case <-s.Leaving():
		t.Error("gave up though nobody misses the credit")
	default:
	}
	want(t, finish(t, start(within(t, 50*time.Millisecond), s, "/starved", nil)), sdk.ErrOverloaded, true)
	<-s.Leaving()
	if s.Condition() != Serving || !s.LostCredit() {
		t.Errorf("got condition %v, lost credit %v", s.Condition(), s.LostCredit())
	}
	p.send(&pluginv1.PluginFrame{Replies: append(answer(first).Replies, answer(second).Replies...)})
	for _, c := range []<-chan result{held, held2} {
		if r := finish(t, c); r.err != nil {
			t.Errorf("got %v", r.err)
		}
	}
}
