package flow

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

type body struct{ io.Reader }

func (body) Close() error         { return nil }
func (body) Trailer() *sdk.Header { return nil }

func TestBuffer(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	broken := errors.New("broken")
	tests := []struct {
		name     string
		text     string
		declared int64
		limit    int64
		end      error
		want     error
	}{
		{"fits", "hello", 5, 5, nil, nil},
		{"length unknown", long, -1, 1 << 20, nil, nil},
		{"declared less than there is", long, 3, 1 << 20, nil, nil},
		{"declared absurdly, sent little", "x", 1 << 19, 1 << 20, nil, nil},
		{"empty", "", -1, 1, nil, nil},
		{"declared over the limit", "hello", 6, 5, nil, sdk.ErrTooLarge},
		{"one over the limit", "hello!", -1, 5, nil, sdk.ErrTooLarge},
		{"far over the limit", long, -1, 1000, nil, sdk.ErrTooLarge},
		{"breaks off", "hel", 5, 10, broken, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := func() Body {
				r := io.Reader(strings.NewReader(tt.text))
				if tt.end != nil {
					r = io.MultiReader(r, iotest.ErrReader(tt.end))
				}
				return body{iotest.OneByteReader(r)}
			}
			var f Flow
			f.Reset()
			f.X.Request().Fill(sdk.RequestInit{Length: tt.declared})
			f.Body = source()
			if err := f.BufferRequest(tt.limit); !errors.Is(err, tt.want) || err == nil && string(f.X.Request().Body()) != tt.text {
				t.Errorf("request: got %v and %d bytes, want %v", err, len(f.X.Request().Body()), tt.want)
			}
			f.X.Response().Fill(200, tt.declared)
			f.Reply.Body = source()
			err := f.BufferReply(tt.limit)
			if !errors.Is(err, tt.want) || f.X.Response().Buffered() != (err == nil) {
				t.Errorf("reply: got %v, buffered %v, want %v", err, f.X.Response().Buffered(), tt.want)
			}
			if err == nil {
				if !bytes.Equal(f.X.Response().Body(), []byte(tt.text)) {
					t.Errorf("reply: got %d bytes, want %d", len(f.X.Response().Body()), len(tt.text))
				}
				if err := f.BufferReply(tt.limit); err != nil {
					t.Errorf("a second time: %v", err)
				}
				return
			}
			if rest, err := io.ReadAll(f.Reply.Body); string(rest) != tt.text || !errors.Is(err, tt.end) {
				t.Errorf("after the error the reply is %d bytes and %v, want %d and %v", len(rest), err, len(tt.text), tt.end)
			}
		})
	}
}

func TestBufferNothing(t *testing.T) {
	var f Flow
	f.Reset()
	if err := f.BufferRequest(0); err != nil || !f.X.Request().Buffered() {
		t.Errorf("got %v, buffered %v", err, f.X.Request().Buffered())
	}
	f.X.Request().SetBody([]byte("set by a hook"))
	if err := f.BufferRequest(3); !errors.Is(err, sdk.ErrTooLarge) {
		t.Errorf("a body set by a hook: got %v", err)
	}
}

// A body that was buffered can be buffered again by an exchange that was undone, as often as it likes, or streamed.
func TestBufferAgain(t *testing.T) {
	f := &Flow{}
	f.Reset()
	undo := func() { f.X.Request().Fill(sdk.RequestInit{Method: "POST", Length: 7}) }
	undo()
	f.Body = body{strings.NewReader("content")}
	for range 3 {
		if err := f.BufferRequest(10); err != nil || string(f.X.Request().Body()) != "content" || f.Spoiled() {
			t.Fatalf("got %v, %q", err, f.X.Request().Body())
		}
		f.X.Request().SetBody([]byte("other"))
		undo()
	}
	if got, err := io.ReadAll(f.Body); string(got) != "content" || err != nil {
		t.Errorf("streamed: got %q, %v", got, err)
	}
	for _, tt := range []struct {
		length  int64
		spoiled bool
	}{{7, false}, {-1, true}} {
		f.Reset()
		f.X.Request().Fill(sdk.RequestInit{Method: "POST", Length: tt.length})
		f.Body = body{strings.NewReader("content")}
		if err := f.BufferRequest(3); !errors.Is(err, sdk.ErrTooLarge) || f.Spoiled() != tt.spoiled {
			t.Errorf("a length of %d: got %v, spoiled %v", tt.length, err, f.Spoiled())
		}
	}
}
