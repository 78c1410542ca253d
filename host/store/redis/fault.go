package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Fault says what an error of the client means to users of the store: ErrNotFound, ErrClosed, ErrNumber, ErrFull,
// ErrUnavailable for everything that another time or place may cure, and a context's own error when it was cancelled.
// Whoever uses Client directly passes its errors through here, with a few words on what was done.
func Fault(doing string, err error) error {
	var reply goredis.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, goredis.Nil):
		return store.ErrNotFound
	case errors.Is(err, goredis.ErrClosed):
		return store.ErrClosed
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("redis: %s: %w", doing, err)
	case errors.As(err, &reply):
		return replyFault(doing, err)
	}
	// The network's errors, time that ran out, and the client's own: no sentinel reachable, no node of the cluster, …
	return unavailable(doing, err)
}

func unavailable(doing string, err error) error {
	return fmt.Errorf("redis: %s: %w: %w", doing, store.ErrUnavailable, err)
}

// replyFault tells by the first word of an error reply, or of that which a script met.
func replyFault(doing string, err error) error {
	text := err.Error()
	switch firstWord(text) {
	case "OOM", "MISCONF":
		return fmt.Errorf("redis: %s: %w: %w: %w", doing, store.ErrUnavailable, store.ErrFull, err)
	case "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "UNBLOCKED", "MOVED", "ASK", "EXECABORT":
		return unavailable(doing, err)
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return fmt.Errorf("%w: check user and password, and what the user may do", unavailable(doing, err))
	}
	switch {
	case strings.Contains(text, "not an integer"), strings.Contains(text, "would overflow"):
		return fmt.Errorf("redis: %s: %w", doing, store.ErrNumber)
	case strings.Contains(text, "max number of clients"), strings.Contains(text, "invalid password"):
		return unavailable(doing, err)
	}
	return fmt.Errorf("redis: %s: %w", doing, err)
}

// firstWord is that of an error reply. Redis 6 tells what a script met behind where, and with a hyphen before it.
func firstWord(text string) string {
	if strings.HasPrefix(text, "ERR Error running script") {
		if _, met, found := strings.Cut(text, ": -"); found {
			text = met
		}
	}
	word, _, _ := strings.Cut(text, " ")
	return word
}
