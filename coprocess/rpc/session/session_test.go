package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TestBatches: while a frame is unacknowledged calls queue up, and leave together when it is.
func TestBatches(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	first := start(t.Context(), s, "/0", nil)
	f := p.receive()
	if f.Seq != 1 || len(f.Calls) != 1 || len(f.Bindings) != 1 {
		t.Fatalf("got first frame %v", f)
	}
	var more []<-chan result
	for i := range 5 {
		more = append(more, start(t.Context(), s, fmt.Sprintf("/%d", i+1), nil))
	}
	until(t, "queueing", func() bool { return s.Stats().InFlight == 6 })
	p.send(&pluginv1.PluginFrame{Ack: 1})
	f = p.receive()
	if f.Seq != 2 || len(f.Calls) != 5 || len(f.Bindings) != 0 {
		t.Fatalf("got second frame with %d calls, seq %d, %d bindings", len(f.Calls), f.Seq, len(f.Bindings))
	}
	pending(t, first)
	p.send(answer(f))
	for i, m := range more {
		if r := finish(t, m); r.err != nil || r.path != fmt.Sprintf("/%d", i+1) {
			t.Errorf("call %d: got %+v", i+1, r)
		}
	}
	pending(t, first) // a slow call holds nobody
	p.send(&pluginv1.PluginFrame{Replies: []*pluginv1.Reply{reply1(s.idFor(t, "/0"), "/0")}})
	if r := finish(t, first); r.err != nil || r.path != "/0" {
		t.Errorf("got %+v", r)
	}
	if st := s.Stats(); st.Calls != 6 || st.CallFrames != 2 || st.Replies != 6 || st.InFlight != 0 {
		t.Errorf("got stats %+v", st)
	}
}

// idFor is the id of the only outstanding call.
func (s *Session) idFor(t *testing.T, _ string) uint64 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.table {
		if e := &s.table[at]; e.live {
			return e.gen<<indexBits | uint64(at)
		}
	}
	t.Fatal("no outstanding call")
	return 0
}

func TestFrameLimits(t *testing.T) {
	s, p := connect(t, Limits{FrameCalls: 2, FrameBytes: 64 << 10})
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	calls := []<-chan result{start(t.Context(), s, "/0", nil)}
	f := p.receive()
	for i := range 4 {
		calls = append(calls, start(t.Context(), s, fmt.Sprintf("/%d", i+1), bytes.Repeat([]byte("x"), i*20<<10)))
	}
	until(t, "queueing", func() bool { st := s.Stats(); return st.InFlight+st.Waiting == 5 })
	for seen := 1; ; {
		p.send(answer(f))
		if seen == len(calls) {
			break
		}
		f = p.receive()
		size := 0
		for _, c := range f.Calls {
			size += len(c.Body)
		}
		if len(f.Calls) == 0 || len(f.Calls) > 2 || size > 64<<10 {
			t.Fatalf("got a frame of %d calls and %d bytes", len(f.Calls), size)
		}
		seen += len(f.Calls)
	}
	for i, c := range calls {
		if r := finish(t, c); r.err != nil || r.path != fmt.Sprintf("/%d", i) {
			t.Errorf("call %d: got %v %q", i, r.err, r.path)
		}
	}
	big := finish(t, start(t.Context(), s, "/big", make([]byte, 65<<10)))
	want(t, big, sdk.ErrProtocol, false)
}

// TestCredit: calls without credit wait, the last one allowed to fails at once, a late reply gives credit back.
func TestCredit(t *testing.T) {
	s, p := connect(t, Limits{Queue: 2})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	held := start(t.Context(), s, "/held", nil)
	f := p.receive()
	p.send(&pluginv1.PluginFrame{Ack: f.Seq})
	starved := start(within(t, 500*time.Millisecond), s, "/starved", nil)
	until(t, "waiting", func() bool { return s.Stats().Waiting == 1 })
	long, stop := context.WithCancel(t.Context())
	left := start(long, s, "/left", nil)
	until(t, "waiting", func() bool { return s.Stats().Waiting == 2 })
	want(t, finish(t, start(t.Context(), s, "/refused", nil)), sdk.ErrOverloaded, true)
	want(t, finish(t, starved), sdk.ErrOverloaded, true)
	stop()
	want(t, finish(t, left), context.Canceled, true)

	next := start(t.Context(), s, "/next", nil)
	until(t, "waiting", func() bool { return s.Stats().Waiting == 1 })
	p.send(answer(f))
	if r := finish(t, held); r.path != "/held" {
		t.Errorf("got %+v", r)
	}
	p.send(answer(p.receive()))
	if r := finish(t, next); r.path != "/next" {
		t.Errorf("got %+v", r)
	}
}

func TestLateReplyReleasesCredit(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	late := start(within(t, 20*time.Millisecond), s, "/late", nil)
	f := p.receive()
	p.send(&pluginv1.PluginFrame{Ack: f.Seq})
	want(t, finish(t, late), context.DeadlineExceeded, false)
	id := f.Calls[0].Id
	if c := p.receive(); len(c.Cancels) != 1 || c.Cancels[0] != id {
		t.Fatalf("got %v, want a cancel of %d", c, id)
	}
	next := start(t.Context(), s, "/next", nil)
	until(t, "waiting", func() bool { return s.Stats().Waiting == 1 })
	p.send(&pluginv1.PluginFrame{Ack: 2, Replies: []*pluginv1.Reply{reply1(id, "/late")}})
	p.send(answer(p.receive()))
	if r := finish(t, next); r.path != "/next" {
		t.Errorf("got %+v", r)
	}
	if st := s.Stats(); st.Late != 1 || st.Unknown != 0 {
		t.Errorf("got stats %+v", st)
	}
}

// quiet is a context that is polled, never waited on: like the host's.
type quiet struct {
	context.Context
	at time.Time
}

func (q quiet) Deadline() (time.Time, bool) { return q.at, true }
func (quiet) Done() <-chan struct{}         { panic("a call must not wait on its context") }

func TestDeadlineNeedsNoTimer(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	r := start(quiet{t.Context(), time.Now().Add(30 * time.Millisecond)}, s, "/", nil)
	f := p.receive()
	if got := f.Calls[0].TimeoutUs; got == 0 || got > 30_000 {
		t.Errorf("got timeout %d µs", got)
	}
	want(t, finish(t, r), context.DeadlineExceeded, false)
}

func TestStrangeReplies(t *testing.T) {
	s, p := connect(t, Limits{ReplyBytes: 100})
	p.sendBytes(nil)                       // an empty frame is nothing
	p.send(&pluginv1.PluginFrame{Ack: 99}) // nor is an acknowledgement of what was never sent
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	r := start(t.Context(), s, "/0", nil)
	until(t, "sending", func() bool { return s.Stats().Calls == 1 })
	queued := start(t.Context(), s, "/1", nil)
	until(t, "queueing", func() bool { return s.Stats().InFlight == 2 })
	f := p.receive()
	id := f.Calls[0].Id
	unsent := id + 1<<indexBits | 1<<indexBits | 1 // whatever is in the frame that waits
	p.send(&pluginv1.PluginFrame{Replies: []*pluginv1.Reply{
		reply1(0, "none"), reply1(id+1<<indexBits, "generation"), reply1(9999, "place"), reply1(unsent, "unsent"), reply1(1<<63, "far"),
	}})
	p.sendBytes([]byte{3<<3 | 2, 2, 0xff, 0xff}) // a reply that cannot be read
	p.send(answer(f))
	p.send(answer(f)) // and once more
	if got := finish(t, r); got.path != "/0" {
		t.Errorf("got %+v", got)
	}
	f = p.receive()
	p.send(&pluginv1.PluginFrame{Ack: f.Seq, Replies: []*pluginv1.Reply{reply1(f.Calls[0].Id, string(make([]byte, 200)))}})
	want(t, finish(t, queued), sdk.ErrProtocol, false)
	until(t, "counting", func() bool { return s.Stats().Unknown == 7 })
	if s.Err() != nil {
		t.Errorf("the session ended: %v", s.Err())
	}
}

// TestManyBindings: a session that has told its server of very many bindings asks to be replaced, and serves until it is.
func TestManyBindings(t *testing.T) {
	s, p := connect(t, Limits{Bindings: 1})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	r := start(t.Context(), s, "/", nil)
	<-s.Leaving()
	if s.Condition() != Serving {
		t.Error("the session is not full")
	}
	p.send(answer(p.receive()))
	if got := finish(t, r); got.path != "/" {
		t.Errorf("got %+v", got)
	}
}

func TestGarbage(t *testing.T) {
	for name, b := range map[string][]byte{
		"undecodable":     {0xff, 0xff, 0xff},
		"another message": []byte("GET / HTTP/1.1\r\n"),
		"truncated":       {3<<3 | 2, 100, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := connect(t, Limits{})
			p.send(&pluginv1.PluginFrame{Credit: 1})
			<-s.Ready()
			sent := start(t.Context(), s, "/sent", nil)
			p.receive()
			waiting := start(t.Context(), s, "/waiting", nil)
			until(t, "waiting", func() bool { return s.Stats().Waiting == 1 })
			p.sendBytes(b)
			want(t, finish(t, sent), sdk.ErrProtocol, false)
			want(t, finish(t, waiting), sdk.ErrProtocol, true)
			<-s.Done()
			want(t, finish(t, start(t.Context(), s, "/after", nil)), sdk.ErrProtocol, true)
		})
	}
}

func TestServerDies(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 10})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	p.receive()
	queued := start(t.Context(), s, "/queued", bytes.Repeat([]byte("x"), 40<<10))
	until(t, "queueing", func() bool { return s.Stats().InFlight == 2 })
	p.end <- errors.New("died")
	want(t, finish(t, sent), sdk.ErrUnavailable, false)
	r := finish(t, queued)
	want(t, r, sdk.ErrUnavailable, true)
	if len(r.call.Body) < 40<<10 {
		t.Error("a call that was not sent lost its body")
	}
}

// TestServerDrains: calls that were sent get their replies, the others go elsewhere, then the stream ends in order.
func TestServerDrains(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 2})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	f := p.receive()
	queued, waiting := start(t.Context(), s, "/queued", nil), start(t.Context(), s, "/waiting", nil)
	until(t, "queueing", func() bool { st := s.Stats(); return st.InFlight == 2 && st.Waiting == 1 })
	p.send(&pluginv1.PluginFrame{Drain: true})
	want(t, finish(t, queued), sdk.ErrUnavailable, true)
	want(t, finish(t, waiting), sdk.ErrUnavailable, true)
	<-s.Leaving()
	want(t, finish(t, start(t.Context(), s, "/after", nil)), sdk.ErrUnavailable, true)
	pending(t, sent)
	p.send(answer(f))
	if r := finish(t, sent); r.path != "/sent" {
		t.Errorf("got %+v", r)
	}
	if f = p.receive(); !f.Drain || len(f.Calls) != 0 {
		t.Errorf("got %v, want a drain", f)
	}
	p.send(&pluginv1.PluginFrame{Ack: f.Seq})
	if err := p.stream.RecvMsg(&pluginv1.HostFrame{}); err == nil {
		t.Error("the host did not close its side")
	}
	p.end <- nil
	<-s.Done()
	if s.Err() != nil {
		t.Errorf("got %v, want a good end", s.Err())
	}
}

func TestHostDrains(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 2})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	f := p.receive()
	p.send(&pluginv1.PluginFrame{Ack: f.Seq})
	until(t, "the acknowledgement", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.acked == 1 })
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.Drain(t.Context())
	}()
	if g := p.receive(); !g.Drain {
		t.Errorf("got %v, want a drain", g)
	}
	p.send(answer(f))
	if r := finish(t, sent); r.path != "/sent" {
		t.Errorf("got %+v", r)
	}
	if err := p.stream.RecvMsg(&pluginv1.HostFrame{}); err == nil {
		t.Error("the host did not close its side")
	}
	p.end <- nil
	<-drained
}

// TestDrainIsBounded: a server that never answers does not keep a draining session open.
func TestDrainIsBounded(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 2})
	<-s.Ready()
	sent := start(t.Context(), s, "/sent", nil)
	p.receive()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	s.Drain(ctx)
	want(t, finish(t, sent), sdk.ErrUnavailable, false)
}

// TestServerThatDoesNotRead: large calls to it run into their deadlines, and nobody is stuck.
func TestServerThatDoesNotRead(t *testing.T) {
	s, p := connect(t, Limits{Window: 4})
	p.send(&pluginv1.PluginFrame{Credit: 100})
	<-s.Ready()
	var calls []<-chan result
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		calls = append(calls, start(ctx, s, "/", make([]byte, 1<<20)))
	}
	for _, c := range calls {
		if r := finish(t, c); !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a deadline exceeded", r.err)
		}
	}
}

// TestNoDeadlock: the server reads on only once its own large replies have been read; the host does that whatever it
// has to send.
func TestNoDeadlock(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 100})
	<-s.Ready()
	const calls = 40
	served := make(chan struct{})
	go func() {
		defer close(served)
		for seen := 0; seen < calls; {
			f := p.receive()
			seen += len(f.Calls)
			out := answer(f)
			for _, r := range out.Replies {
				r.Effects.Body = make([]byte, 256<<10)
			}
			p.send(&pluginv1.PluginFrame{Ack: f.Seq}) // the host sends its next frame while these replies fill the pipe
			p.send(&pluginv1.PluginFrame{Replies: out.Replies})
		}
	}()
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			path := fmt.Sprintf("/%d", i)
			if r := do(t.Context(), s, NewCall(), path, make([]byte, 256<<10)); r.err != nil || r.path != path {
				t.Errorf("got %v %q", r.err, r.path)
			}
		})
	}
	all.Wait()
	<-served
}

// TestHammer: many callers, some of which leave or run out of time, on a server that answers in any order, some calls
// twice. Nobody gets another's reply, and all credit comes back.
func TestHammer(t *testing.T) {
	const callers, each, credit = 32, 40, 20
	s, p := connect(t, Limits{Window: 2, FrameCalls: 7})
	p.send(&pluginv1.PluginFrame{Credit: credit})
	<-s.Ready()
	stop := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		var held []*pluginv1.Reply
		for {
			var f pluginv1.HostFrame
			if p.stream.RecvMsg(&f) != nil {
				return
			}
			out := answer(&f)
			held = append(held, out.Replies...)
			rand.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
			n := len(held)
			select {
			case <-stop:
			default:
				n = len(held) - min(len(held), rand.IntN(3))
			}
			out.Replies = held[:n]
			if n > 0 && rand.IntN(8) == 0 {
				out.Replies = append(append([]*pluginv1.Reply{}, out.Replies...), held[0])
			}
			if p.stream.SendMsg(out) != nil {
				return
			}
			held = append([]*pluginv1.Reply{}, held[n:]...)
		}
	}()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			c := NewCall()
			for j := range each {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				switch rand.IntN(10) {
				case 0:
					cancel()
				case 1:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(int(5*time.Millisecond))))
				}
				path := fmt.Sprintf("/%d/%d", i, j)
				r := do(ctx, s, c, path, make([]byte, rand.IntN(20<<10)))
				if r.err == nil && r.path != path {
					t.Errorf("call %s got the reply of %s", path, r.path)
				}
				if r.err != nil && !errors.Is(r.err, context.Canceled) && !errors.Is(r.err, context.DeadlineExceeded) && !errors.Is(r.err, sdk.ErrOverloaded) {
					t.Errorf("call %s: %v", path, r.err)
				}
				cancel()
			}
		})
	}
	nudge := make(chan struct{})
	go func() { // held replies leave with the next frame: see that there always is one
		defer close(nudge)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				_ = s.Post(ctx, nil)
				cancel()
			}
		}
	}()
	all.Wait()
	close(stop)
	<-nudge
	for range 3 {
		if err := s.Post(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "credit coming back", func() bool { return s.Stats().InFlight == 0 })
	p.end <- nil
	<-served
}

func TestPost(t *testing.T) {
	s, p := connect(t, Limits{})
	p.send(&pluginv1.PluginFrame{Credit: 1})
	<-s.Ready()
	call := start(t.Context(), s, "/", nil)
	f := p.receive()
	posted := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Post(ctx, []byte{8 << 3, 1}); !errors.Is(err, sdk.ErrOverloaded) {
		t.Errorf("got %v, want overloaded while the window is closed", err)
	}
	go func() { posted <- s.Post(t.Context(), []byte{8 << 3, 7}) }()
	until(t, "queueing", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.batches) == 1 })
	p.send(answer(f))
	if got := p.receive(); got.Dropped != 7 {
		t.Errorf("got %v", got)
	}
	if err := <-posted; err != nil {
		t.Error(err)
	}
	finish(t, call)
	s.Close()
	if err := s.Post(t.Context(), nil); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

// FuzzDeliver: whatever a server sends, the session's books stay in order.
func FuzzDeliver(f *testing.F) {
	seed, err := proto.Marshal(&pluginv1.PluginFrame{Ack: 1, Credit: 3, Drain: true, Replies: []*pluginv1.Reply{
		reply1(1<<indexBits, "/0"), reply1(1<<indexBits|1, "/1"), reply1(1<<indexBits, "/0"),
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Add([]byte{3<<3 | 2, 3, 8, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Session{limits: Limits{}.withDefaults(), leave: make(chan struct{}), pending: new(frame), spare: new(frame), credit: 10, closeSent: true, seq: 1}
		var calls []*Call
		for i := range 3 {
			c := NewCall()
			c.Times.Sent = 1
			calls = append(calls, c)
			s.enter(c)
			s.table[i].seq = uint64(1 + i/2) // the last one has not left
		}
		var in incoming
		if in.decode(b) != nil {
			return
		}
		s.deliver(&in)
		s.deliver(&in)
		settled, live := 0, 0
		for _, c := range calls {
			settled += len(c.done)
		}
		for i := range s.table {
			if s.table[i].live {
				live++
			}
		}
		if live != s.outstanding || live+settled != len(calls) || live+len(s.free) != len(s.table) || s.inFlight > 0 {
			t.Errorf("%d live, %d outstanding, %d settled, %d free of %d", live, s.outstanding, settled, len(s.free), len(s.table))
		}
	})
}
