package limittest

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock is a clock that stands still until it is advanced. As a hook of a Redis client it is the server's clock too, for
// scripts that ask for the time in one way, redis.call('TIME'): it puts the time in its place.
type Clock struct {
	began  time.Time
	offset atomic.Int64
}

// NewClock returns a clock that begins now, so that what expires by the server's own clock does so late rather than early.
func NewClock(t testing.TB, client redis.UniversalClient) *Clock {
	c := &Clock{began: time.Now()}
	client.AddHook(c)
	return c
}

// Now is the time.
func (c *Clock) Now() time.Time { return c.began.Add(time.Duration(c.offset.Load())) }

// Advance moves the time.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// DialHook is redis.Hook's.
func (c *Clock) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook is redis.Hook's.
func (c *Clock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

type unknown string

func (e unknown) Error() string { return string(e) }
func (unknown) RedisError()     {}

// ProcessHook is redis.Hook's. No script is known by its digest, so that each comes as a text.
func (c *Clock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		switch cmd.Name() {
		case "evalsha":
			err := unknown("NOSCRIPT the clock is simulated")
			cmd.SetErr(err)
			return err
		case "eval":
			now, args := c.Now(), cmd.Args()
			time := "{'" + strconv.FormatInt(now.Unix(), 10) + "', '" + strconv.Itoa(now.Nanosecond()/1000) + "'}"
			args[1] = strings.Replace(args[1].(string), "redis.call('TIME')", time, 1)
		}
		return next(ctx, cmd)
	}
}
