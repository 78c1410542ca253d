package serve

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// message is what this package receives and sends: bytes that sdk/wire reads and writes.
type message struct {
	data   []byte     // valid until release, or as long as there is a reference to buffer
	buffer mem.Buffer // received: what holds data
	memory *[]byte    // to be sent, instead of data: given back to pool once written
	pool   mem.BufferPool
}

// release gives a received message's memory back. Its data must not be used any more.
func (m *message) release() {
	if m.buffer != nil {
		m.buffer.Free()
	}
	m.data, m.buffer = nil, nil
}

// codec hands messages through as they are and leaves everything else (health) to gRPC's own codec. It answers to the
// same name: on the wire there is no difference.
type codec struct{ fallback encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal hands the message's memory over to gRPC.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return c.fallback.Marshal(v)
	}
	if m.memory != nil {
		return mem.BufferSlice{mem.NewBuffer(m.memory, m.pool)}, nil
	}
	return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
}

// Unmarshal keeps a reference to the received memory until [message.release].
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return c.fallback.Unmarshal(data, v)
	}
	if m.buffer != nil {
		return fmt.Errorf("serve: a message was received into one not released")
	}
	m.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	m.data = m.buffer.ReadOnlyData()
	return nil
}

// Name is the content subtype of both protocols.
func (codec) Name() string { return proto.Name }
