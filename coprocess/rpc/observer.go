package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// batchBytes is how much of a batch travels in one frame, so that it never holds calls up for long.
const batchBytes = 256 << 10

// Observer implements [coprocess.Server]. Its Observe returns when the batch has left for one of the server's
// instances, so that an observer that is slow makes its host's queue fill up and nothing else wait. Tyk's protocol
// carries events only.
func (s *Server) Observer(name string) sdk.Observer { return &observer{s, name} }

type observer struct {
	s    *Server
	name string
}

// Observe implements [sdk.Observer].
func (o *observer) Observe(ctx context.Context, b sdk.Batch) error {
	l := o.s.pick(nil)
	if l == nil {
		return o.s.unavailable()
	}
	if l.manner.protocol == Native {
		return l.post(ctx, o.name, b)
	}
	for i := range b.Events {
		if err := l.dispatchEvent(ctx, o.name, &b.Events[i]); err != nil {
			return fmt.Errorf("observer %q: %w", o.name, err)
		}
	}
	return nil
}

func (l *link) post(ctx context.Context, name string, b sdk.Batch) error {
	limit := min(batchBytes, l.i.s.o.MaxSend/2)
	if wish := int(l.manner.about.Limits.FrameBytes); wish > 0 {
		limit = min(limit, wish/2)
	}
	begin := func() []byte { return wire.AppendObserver(nil, name) }
	fields := wire.AppendDropped(begin(), b.Dropped)
	empty := b.Dropped == 0
	flush := func() error {
		if empty {
			return nil
		}
		err := l.idlest().Post(ctx, fields)
		fields, empty = begin(), true // what was posted is the frame's
		return err
	}
	for i := range b.Records {
		fields, empty = wire.AppendRecord(fields, &b.Records[i]), false
		if len(fields) > limit {
			if err := flush(); err != nil {
				return fmt.Errorf("observer %q: %w", name, err)
			}
		}
	}
	for i := range b.Events {
		fields, empty = wire.AppendEvent(fields, &b.Events[i]), false
		if len(fields) > limit {
			if err := flush(); err != nil {
				return fmt.Errorf("observer %q: %w", name, err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("observer %q: %w", name, err)
	}
	return nil
}

func (l *link) dispatchEvent(ctx context.Context, name string, e *sdk.Event) error {
	message, err := wire.AppendDispatchEvent(nil, e, name)
	if err != nil {
		return errors.Join(sdk.ErrProtocol, err)
	}
	_, err = l.invoke(ctx, nil, tykpb.Dispatcher_DispatchEvent_FullMethodName, mem.SliceBuffer(message))
	return err
}
