// Package rawcodec is a gRPC codec for messages that are encoded and decoded by hand: it hands bytes through as they
// are. Generated messages still work, so that one connection serves both.
package rawcodec

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Out is an encoded message to send. gRPC frees the buffers when it has written them.
type Out struct {
	Buffers mem.BufferSlice
	// Taken is set when gRPC takes the buffers, which it does once it has a stream to send them on. Without it nothing
	// was sent, and the buffers are still the caller's.
	Taken bool
}

// In takes a received message: memory of its own, for the receiver to keep.
type In struct{ Data []byte }

type codec struct{}

// New returns the codec.
func New() encoding.CodecV2 { return codec{} }

// Name is that of the codec it stands in for, because it is part of the content type that servers look at.
func (codec) Name() string { return "proto" }

// Marshal implements [encoding.CodecV2].
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Out:
		m.Taken = true
		return m.Buffers, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("cannot encode a %T", v)
}

// Unmarshal implements [encoding.CodecV2].
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *In:
		m.Data = data.Materialize()
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), m)
	}
	return fmt.Errorf("cannot decode a %T", v)
}
