package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// targets are those that lines go to besides, of the present settings and, until they are done, of the ones before.
type targets struct {
	ctx context.Context // lends its values
	id  remote.Identity

	mu      sync.Mutex
	open    []opened
	past    uint64 // what closed ones had lost
	leaving sync.WaitGroup
}

type opened struct {
	settings config.LogTarget
	level    slog.Level // of the log, which it may have taken
	remote.Target
}

// leaveTimeout is how long a target that the settings do not name any more has for what it still holds.
const leaveTimeout = 5 * time.Second

// set opens what is new, keeps what stays, has the rest end, and returns the handlers. What cannot be opened, and targets
// that go away, it tells to log, which is not to be made of these handlers.
func (t *targets) set(list []config.LogTarget, level slog.Level, log *slog.Logger) []slog.Handler {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.open
	t.open = nil
	var handlers []slog.Handler
	for _, c := range list {
		i := slices.IndexFunc(before, func(o opened) bool { return o.settings == c && o.level == level })
		var o opened
		if i >= 0 {
			o, before = before[i], slices.Delete(slices.Clone(before), i, i+1)
		} else {
			target, err := remote.Open(t.ctx, c, level, t.id, func(err error) {
				log.Warn("log target away, lines wait and are dropped in the end", "type", string(c.Type), "address", c.Address, "error", err.Error())
			})
			if err != nil {
				log.Error(err.Error())
				continue
			}
			o = opened{c, level, target}
		}
		t.open, handlers = append(t.open, o), append(handlers, o.Handler())
	}
	for _, o := range before {
		t.leaving.Go(func() {
			ctx, cancel := context.WithTimeout(t.ctx, leaveTimeout)
			defer cancel()
			if err := t.leave(ctx, o); err != nil {
				log.Warn(err.Error())
			}
		})
	}
	return handlers
}

func (t *targets) leave(ctx context.Context, o opened) error {
	err := o.Close(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past += o.Dropped()
	if err != nil {
		return fmt.Errorf("log target: %w", err)
	}
	return nil
}

func (t *targets) dropped() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.past
	for _, o := range t.open {
		n += o.Dropped()
	}
	return n
}

func (t *targets) close(ctx context.Context) error {
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	errs := make([]error, len(open))
	var all sync.WaitGroup
	for i, o := range open {
		all.Go(func() { errs[i] = t.leave(ctx, o) })
	}
	all.Wait()
	t.leaving.Wait()
	return errors.Join(errs...)
}
