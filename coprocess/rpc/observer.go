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

// RecordNeeds implements [sdk.RecordNeeder]: what the server said of its observer when it was asked last.
func (o *observer) RecordNeeds() sdk.RecordNeeds {
	if m := o.s.lastSeen.Load(); m != nil && m.about != nil {
		return m.about.ObserverNeeds[o.name]
	}
	return sdk.RecordNeeds{}
}

// Observe implements [sdk.Observer].
func (o *observer) Observe(ctx context.Context, b sdk.Batch) error {
	l := o.s.pick(nil)
	if l == nil {
		return o.s.unavailable()
	}
	send := l.post
	if l.manner.protocol != Native {
		send = l.dispatchEvents
	}
	if err := send(ctx, o.name, b); err != nil {
		return fmt.Errorf("observer %q: %w", o.name, err)
	}
	return nil
}

func (l *link) post(ctx context.Context, name string, b sdk.Batch) error {
	limit := min(batchBytes, l.i.s.o.MaxSend/2)
	if wish := int(l.manner.about.Limits.FrameBytes); wish > 0 {
		limit = min(limit, wish/2)
	}
	fields := wire.AppendDropped(wire.AppendObserver(nil, name), b.Dropped)
	empty := b.Dropped == 0
	flush := func(over int) error {
		if empty || len(fields) <= over {
			return nil
		}
		err := l.idlest().Post(ctx, fields)
		fields, empty = wire.AppendObserver(nil, name), true // what was posted is the frame's
		return err
	}
	for i := range b.Records {
		fields, empty = wire.AppendRecord(fields, &b.Records[i]), false
		if err := flush(limit); err != nil {
			return err
		}
	}
	for i := range b.Events {
		fields, empty = wire.AppendEvent(fields, &b.Events[i]), false
		if err := flush(limit); err != nil {
			return err
		}
	}
	return flush(0)
}

func (l *link) dispatchEvents(ctx context.Context, name string, b sdk.Batch) error {
	for i := range b.Events {
		message, err := wire.AppendDispatchEvent(nil, &b.Events[i], name)
		if err != nil {
			return errors.Join(sdk.ErrProtocol, err)
		}
		if _, err = l.invoke(ctx, nil, tykpb.Dispatcher_DispatchEvent_FullMethodName, mem.SliceBuffer(message)); err != nil {
			return err
		}
	}
	return nil
}
