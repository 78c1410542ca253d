package rpc_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func member(name string, l net.Listener) rpc.Member {
	return rpc.Member{Name: name, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	}}
}

// Instances join and leave under load: each is told to stop when it has left, and no call fails.
func TestMembers(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Native, rpc.Tyk} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			s, err := rpc.OpenMembers(t.Context(), rpc.Options{Address: "p"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			join := func(n int) func() {
				l := listen(t)
				stop := startInstance(t, protocol, l)
				name := strconv.Itoa(n)
				if err := s.Join(member(name, l)); err != nil {
					t.Fatal(err)
				}
				if err := s.Await(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				return func() {
					<-s.Leave(name)
					stop()
				}
			}
			leave := join(0)
			calls, done := load(t, s)
			for n := range 5 {
				more(t, calls)
				next := join(n + 1)
				leave()
				leave = next
			}
			more(t, calls)
			done()
			leave()
			if got := s.Status(); len(got) != 0 {
				t.Errorf("all have left, and there are %v", got)
			}
		})
	}
}

// Calls without an instance say what the owner knows about it.
func TestMembersExcuse(t *testing.T) {
	noLeaks(t)
	s, err := rpc.OpenMembers(t.Context(), rpc.Options{Address: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.Excuse(errors.New("it exited"))
	if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "it exited") {
		t.Errorf("got %v, want unavailable: it exited", err)
	}
	s.Settle(t.Context()) // it is known that it takes none
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	fails := rpc.Member{Name: "a", Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no such socket") }}
	if err := errors.Join(s.Join(fails), s.Await(t.Context(), "b")); err == nil {
		t.Error("awaited an instance that is none")
	}
	if err := s.Join(fails); err == nil {
		t.Error("two instances have one name")
	}
	if err := s.Await(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the time was up", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Join(member("c", nil)); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("joined a closed server: %v", err)
	}
}
