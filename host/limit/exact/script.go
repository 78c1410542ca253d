package exact

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is the name of a script
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is one that servers know by its digest, once they have seen it.
type script struct{ text, digest string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

// call is one execution of a script, on the keys of one slot.
type call struct {
	owners []string
	keys   []string
	args   []any
	// indices of the buckets in the ask, in the order of args: rates as they are, quotas as ^index.
	buckets []int
	reply   []int64 // nil until it succeeded
}

// once is a command that is sent once: what may have run is not repeated.
type once struct{ *redis.Cmd }

// NoRetry is redis.Cmder's.
func (once) NoRetry() bool { return true }

func (c *call) command(ctx context.Context, name, what string) once {
	args := make([]any, 0, 3+len(c.keys)+len(c.args))
	args = append(args, name, what, len(c.keys))
	for _, k := range c.keys {
		args = append(args, k)
	}
	return once{redis.NewCmd(ctx, append(args, c.args...)...)}
}

// send executes calls, all at the same time, those that a server did not know the script for a second time with its text.
func (l *Limiter) send(ctx context.Context, s *script, calls []*call, known bool) error {
	name, what := "evalsha", s.digest
	if !known {
		name, what = "eval", s.text
	}
	commands := make([]once, len(calls))
	for i, c := range calls {
		commands[i] = c.command(ctx, name, what)
	}
	if len(calls) == 1 {
		_ = l.client.Process(ctx, commands[0]) // its error is the command's
	} else {
		p := l.client.Pipeline()
		for _, c := range commands {
			_ = p.Process(ctx, c)
		}
		_, _ = p.Exec(ctx)
	}
	var first error
	var unknown []*call
	for i, c := range commands {
		err := c.Err()
		if err == nil {
			calls[i].reply, err = c.Int64Slice()
		}
		switch {
		case err == nil:
		case known && redis.HasErrorPrefix(err, "NOSCRIPT"):
			unknown = append(unknown, calls[i])
		case first == nil:
			first = err
		}
	}
	if len(unknown) > 0 {
		first = errors.Join(first, l.send(ctx, s, unknown, false))
	}
	return first
}

// gate keeps requests from a server that is away: after a failure all but one in a tenth of a second are turned back.
type gate struct {
	began time.Time
	until atomic.Int64 // nanoseconds after began; 0: open
}

const retryEvery = 100 * time.Millisecond

func (g *gate) enter(now time.Time) bool {
	until := g.until.Load()
	if until == 0 {
		return true
	}
	at := int64(now.Sub(g.began))
	return at >= until && g.until.CompareAndSwap(until, at+int64(retryEvery))
}

func (g *gate) leave(well bool, now time.Time) {
	switch {
	case !well:
		g.until.Store(max(1, int64(now.Sub(g.began)+retryEvery)))
	case g.until.Load() != 0:
		g.until.Store(0)
	}
}

// badReply is a reply that is not the script's.
func badReply(got, want int) error {
	return fmt.Errorf("the script replied with %d numbers instead of %d", got, want)
}
