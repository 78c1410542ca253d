package unary_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
)

func here() bool { return false }

func there() bool { return true }

// channelDo begins a call on a channel.
func channelDo(t testing.TB, c *unary.Channel, elsewhere func() bool) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		call := unary.NewCall()
		call.Message = []byte("q")
		reply, err := c.Do(t.Context(), call, elsewhere)
		result <- outcome{reply, err}
	}()
	return result
}

// TestRenewal: calls wait while the connection is renewed, and what it had not begun goes to the next.
func TestRenewal(t *testing.T) {
	first, p := connect(t, unary.Options{})
	second, q := connect(t, unary.Options{})
	next := make(chan *unary.Conn)
	c := unary.Open(t.Context(), first, func(ctx context.Context) (*unary.Conn, error) {
		select {
		case conn := <-next:
			return conn, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, time.Minute)
	defer c.Close()

	keeps := channelDo(t, c, here)
	kept := p.request().stream
	moves := channelDo(t, c, here)
	p.request()
	p.must(p.f.WriteGoAway(kept, http2.ErrCodeNo, nil))
	if e := (<-channelDo(t, c, there)).failure(t); !e.NotSent {
		t.Errorf("wanted elsewhere: got %+v, want not sent", e)
	}
	waits := channelDo(t, c, here)
	next <- second
	for range 2 {
		q.reply(q.request().stream, "second")
	}
	wantReply(t, moves, "second")
	wantReply(t, waits, "second")
	p.reply(kept, "first")
	wantReply(t, keeps, "first")

	refused := channelDo(t, c, here)
	q.must(q.f.WriteRSTStream(q.request().stream, http2.ErrCodeRefusedStream))
	q.reply(q.request().stream, "again")
	wantReply(t, refused, "again")

	lost := channelDo(t, c, here)
	q.request()
	_ = q.nc.Close()
	if e := (<-lost).failure(t); e.NotSent {
		t.Errorf("got %+v, want a call that may have run", e)
	}
}

// TestNoRenewal: a peer that cannot be reached again, and one that ends every connection at once.
func TestNoRenewal(t *testing.T) {
	for _, tt := range []struct {
		name string
		dial func(t *testing.T) (*unary.Conn, error)
		want string // nothing: whatever
	}{
		{"unreachable", func(*testing.T) (*unary.Conn, error) { return nil, errors.New("nobody there") }, "closed the connection"},
		{"ends at once", func(t *testing.T) (*unary.Conn, error) {
			conn, p := connect(t, unary.Options{})
			return conn, p.nc.Close()
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, p := connect(t, unary.Options{})
			c := unary.Open(t.Context(), first, func(context.Context) (*unary.Conn, error) { return tt.dial(t) }, time.Minute)
			defer c.Close()
			_ = p.nc.Close()
			<-c.Down()
			if e := (<-channelDo(t, c, here)).failure(t); !e.NotSent || !strings.Contains(e.Message, tt.want) {
				t.Errorf("got %+v, want not sent", e)
			}
		})
	}
}
