package rpc_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// load calls the hook from several goroutines until the returned function is called; no call may fail.
func load(t *testing.T, s *rpc.Server) (calls *atomic.Int64, stop func()) {
	t.Helper()
	quit := make(chan struct{})
	calls = &atomic.Int64{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if _, err := call(ctx, t, s, "Mark"); err != nil {
					t.Errorf("after %d calls: %v", calls.Load(), err)
				}
				cancel()
				calls.Add(1)
			}
		})
	}
	return calls, func() { close(quit); all.Wait() }
}

func more(t *testing.T, calls *atomic.Int64) {
	t.Helper()
	before := calls.Load()
	until(t, "load", func() bool { return calls.Load() > before+100 })
}

// TestTakeOver: a server's successor takes its only address over before it is told to stop, and no call fails.
func TestTakeOver(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Native, rpc.Tyk} {
		for _, network := range []string{"unix", "tcp"} {
			t.Run(string(protocol)+network, func(t *testing.T) {
				noLeaks(t)
				address := "unix:" + place(t)
				if network == "tcp" {
					address = "127.0.0.1:0"
				}
				start := func() func() {
					l, err := serve.TakeOver(t.Context(), address, 0o600)
					if err != nil {
						t.Fatal(err)
					}
					if network == "tcp" {
						address = l.Addr().String()
					}
					return startInstance(t, protocol, l)
				}
				stop := start()
				s := open(t, rpc.Options{Address: address})
				await(t, s)
				calls, done := load(t, s)
				for range 3 {
					more(t, calls)
					next := start()
					stop()
					stop = next
					more(t, calls)
				}
				done()
			})
		}
	}
}

// TestFollowsInTime: a server that stops goes on serving for a moment; when another listens at its address by then, no
// call fails.
func TestFollowsInTime(t *testing.T) {
	noLeaks(t)
	path := place(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	first := startPlugin(t, markPlugin(), l, serve.Options{Drain: time.Minute, Handover: 20 * time.Second})
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 50 * time.Millisecond})
	await(t, s)
	calls, done := load(t, s)
	more(t, calls)
	stopped := make(chan error, 1)
	go func() { stopped <- first.Shutdown(t.Context()) }()
	until(t, "the end of listening", func() bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	more(t, calls)
	if l, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	startPlugin(t, markPlugin(), l, serve.Options{})
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	more(t, calls)
	done()
}

// TestNobodyFollows: when no other listens by then, calls fail and say so, until one does.
func TestNobodyFollows(t *testing.T) {
	noLeaks(t)
	path := place(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	first := startPlugin(t, markPlugin(), l, serve.Options{Handover: 50 * time.Millisecond})
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 50 * time.Millisecond})
	await(t, s)
	if err := first.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	until(t, "noticing", func() bool { return stateOf(s)[0] == rpc.StateDown })
	if st := s.Status()[0]; !strings.Contains(st.Error, "no such file") {
		t.Errorf("got status %+v", st)
	}
	if l, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	startPlugin(t, markPlugin(), l, serve.Options{})
	await(t, s)
	if _, err := call(t.Context(), t, s, "Mark"); err != nil {
		t.Error(err)
	}
}
