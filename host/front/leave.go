package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Duplicate returns another listener on the socket that the front listens on, for one that is to take its place: connections
// come to either, and wait in one queue. Whoever asks closes it.
func (f *Front) Duplicate() (net.Listener, error) {
	f.mu.Lock()
	l, ok := f.listener.(interface{ File() (*os.File, error) })
	f.mu.Unlock()
	if !ok {
		return nil, errors.New("front: the listener has no socket to share")
	}
	file, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("front: sharing the socket: %w", err)
	}
	another, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("front: sharing the socket: %w", err)
	}
	return another, nil
}

// Leave is for a front whose place another takes, on a duplicate of its listener's socket. It stops accepting and closes its
// own listener; connections that it has accepted, those that are shaking hands or have not sent anything among them, are
// served on, each until its next reply, which asks the client to come back on another. What is idle after half of the
// time to ctx's deadline is closed; what is busy when ctx ends is cut, as by [Front.Shutdown], whose promises Leave keeps.
// Serve returns nil as soon as nothing is accepted any more.
func (f *Front) Leave(ctx context.Context) error {
	f.mu.Lock()
	served := f.served
	if f.leaving.CompareAndSwap(false, true) {
		close(f.left)
		if f.listener != nil {
			_ = f.listener.Close()
		}
	}
	f.mu.Unlock()
	patience := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	if served != nil {
		<-served // what was accepted is known now
		f.awaitEmpty(patience)
	}
	return f.Shutdown(ctx)
}

// awaitEmpty waits until no connection is left, or ctx ends.
func (f *Front) awaitEmpty(ctx context.Context) {
	for f.Stats().Open > 0 {
		select {
		case <-f.empty:
		case <-ctx.Done():
			return
		}
	}
}
