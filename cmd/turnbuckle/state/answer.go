package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// unhurried is what a store that has just been opened gets beside its timeout: it asks its server twice a second.
const unhurried = time.Second

// serves waits until a store serves, at most until ctx ends; then it returns why it does not.
func serves(ctx context.Context, p store.Prober) error {
	for {
		status := p.Status()
		if status.Err == nil {
			return nil
		}
		select {
		case <-status.Next:
		case <-ctx.Done():
			return status.Err
		}
	}
}

// answers waits until a store that has been opened serves, as long as its server is given for an answer.
func (s *State) answers(ctx context.Context, on opened) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Settings.Store.Redis.Timeout+unhurried)
	defer cancel()
	if err := serves(ctx, on); err != nil {
		return fmt.Errorf("store: it does not serve: %w", err)
	}
	return nil
}

// tell logs when a store goes away and when it is back, until stop is called. One that has just been opened is not away
// before it had time to answer.
func (s *State) tell(of store.Prober) (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var told sync.WaitGroup
	told.Go(func() {
		beginning, began := context.WithTimeout(ctx, s.o.Settings.Store.Redis.Timeout+2*unhurried) // longer than answers waits
		_ = serves(beginning, of)                                                                  // the status says it again
		began()
		for away := false; ctx.Err() == nil; {
			status := of.Status()
			switch {
			case status.Err != nil && !away:
				s.o.Log.Error("the store is away", "error", status.Err.Error())
			case status.Err == nil && away:
				s.o.Log.Info("the store is back")
			}
			away = status.Err != nil
			select {
			case <-status.Next:
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); told.Wait() }
}
