package rawcodec

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestCodec(t *testing.T) {
	c := New()
	if c.Name() != "proto" {
		t.Errorf("got name %q", c.Name())
	}
	out := &Out{Buffers: mem.BufferSlice{mem.SliceBuffer("ab"), mem.SliceBuffer("c")}}
	sent, err := c.Marshal(out)
	if err != nil || !out.Taken || !bytes.Equal(sent.Materialize(), []byte("abc")) {
		t.Errorf("got %q, %v", sent.Materialize(), err)
	}
	var in In
	if err := c.Unmarshal(sent, &in); err != nil || string(in.Data) != "abc" {
		t.Errorf("got %q, %v", in.Data, err)
	}
	sent.Free()

	message := wrapperspb.String("text")
	if sent, err = c.Marshal(message); err != nil {
		t.Fatal(err)
	}
	var back wrapperspb.StringValue
	if err := c.Unmarshal(sent, &back); err != nil || !proto.Equal(message, &back) {
		t.Errorf("got %v, %v", &back, err)
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("a string was encoded")
	}
	if err := c.Unmarshal(sent, new(string)); err == nil {
		t.Error("a string was decoded")
	}
}
