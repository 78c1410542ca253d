package amqp

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// from is a connection from which text comes.
type from struct {
	net.Conn
	io.Reader
}

func (f from) Read(p []byte) (int, error) { return f.Reader.Read(p) }

func method(channel uint16, class, what uint16, arguments ...byte) []byte {
	b, at := begin(nil, frameMethod, channel)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, class), what)
	return shut(append(b, arguments...), at)
}

func confirmed(channel, what uint16, tag uint64, bits byte) []byte {
	return method(channel, basic, what, append(binary.BigEndian.AppendUint64(nil, tag), bits)...)
}

// The library reads what is no confirm of our channel's, to the byte, however it comes.
func TestLinkRead(t *testing.T) {
	t.Parallel()
	other := [][]byte{
		method(0, 10, 10, bytes.Repeat([]byte("x"), 40_000)...), confirmed(1, basicAck, 1, 0), method(1, confirm, confirmSelected),
		confirmed(2, basicAck, 1, 0), method(1, basic, 50, make([]byte, 9)...), {frameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd}, method(1, 20, 40, 1, 2, 3),
	}
	said, want := bytes.Join(other[:3], nil), bytes.Join(other, nil)
	for _, c := range [][]byte{confirmed(1, basicAck, 2, 0), confirmed(1, basicAck, 1, 0)} {
		said = append(said, c...)
	}
	said = append(said, bytes.Join(other[3:], nil)...)
	said = append(said, confirmed(1, basicAck, 3, 1)...)
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(said), "byte by byte": iotest.OneByteReader(bytes.NewReader(said)), "by halves": iotest.HalfReader(bytes.NewReader(said)),
	} {
		l := newLink(from{Reader: r})
		done := l.begin(3)
		got, err := io.ReadAll(l)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(want), err)
		}
		select {
		case <-done:
		default:
			t.Errorf("%s: not all are confirmed", name)
		}
		if n, refused := l.arrived(); n != 3 || refused {
			t.Errorf("%s: %d, %v", name, n, refused)
		}
	}
	for _, cut := range []string{"AMQP\x00\x00\x09\x01", "AM", "\x01\x00\x01\x00\x00\x00\x0d\x00"} { // no frames, or not all of one
		if got, err := io.ReadAll(newLink(from{Reader: strings.NewReader(cut)})); string(got) != cut || err != nil {
			t.Errorf("%q: got %q, %v", cut, got, err)
		}
	}
	l := newLink(from{Reader: bytes.NewReader(append(method(1, confirm, confirmSelected), confirmed(1, basicAck, 1, 0)...))})
	l.alive = time.Now().Add(-time.Minute)
	if got, err := io.ReadAll(l); err != nil || !bytes.Equal(got, append(method(1, confirm, confirmSelected), frameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd)) {
		t.Errorf("a broker that confirms is not alive: %q, %v", got, err)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	type word struct {
		tag             uint64
		multiple, taken bool
	}
	for _, test := range []struct {
		name    string
		words   []word
		arrived int
		refused bool
		done    bool
	}{
		{"in order", []word{{11, false, true}, {12, false, true}, {13, false, true}}, 3, false, true},
		{"out of order", []word{{13, false, true}, {11, false, true}}, 1, false, false},
		{"several", []word{{12, true, true}}, 2, false, false},
		{"several after one", []word{{12, false, true}, {13, true, true}}, 3, false, true},
		{"all there are", []word{{0, true, true}}, 3, false, true},
		{"none there is", []word{{0, false, true}, {10, false, true}, {10, true, true}, {14, false, true}, {14, true, true}}, 0, false, false},
		{"one refused", []word{{11, false, true}, {12, false, false}, {13, false, true}}, 1, true, true},
		{"all refused", []word{{13, true, false}}, 0, true, true},
		{"again", []word{{13, true, true}, {13, true, true}, {12, false, false}}, 3, false, true},
	} {
		l := newLink(nil)
		l.next = 11
		done := l.begin(3)
		for _, w := range test.words {
			l.settle(w.tag, w.multiple, w.taken)
		}
		ended := false
		select {
		case <-done:
			ended = true
		default:
		}
		if n, refused := l.arrived(); n != test.arrived || refused != test.refused || ended != test.done {
			t.Errorf("%s: %d, refused %v, done %v", test.name, n, refused, ended)
		}
	}
}

// The frames of a message are, in octets, what the standard says; a body that is longer than a frame has several.
func TestFrames(t *testing.T) {
	t.Parallel()
	m := message{exchange: "ex", id: []byte("run-"), persistent: true, frame: frameStart + 1 + 3}
	got := m.append(nil, 0x0102, &ship.Item{Seq: 7, Key: []byte("k.y"), Body: []byte("abcde")})
	want := "\x01\x01\x02\x00\x00\x00\x0e" + "\x00\x3c\x00\x28\x00\x00\x02ex\x03k.y\x00" + "\xce" +
		"\x02\x01\x02\x00\x00\x00\x31" + "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x90\x88" + "\x10application/json" + "\x02" + "\x05run-7" + "\x0aturnbuckle" + "\xce" +
		"\x03\x01\x02\x00\x00\x00\x03abc\xce" + "\x03\x01\x02\x00\x00\x00\x02de\xce"
	if diff := cmp.Diff([]byte(want), got); diff != "" {
		t.Error(diff)
	}
	m.persistent, m.frame = false, 0
	got = m.append(nil, 1, &ship.Item{Key: bytes.Repeat([]byte("k"), 300)})
	if bytes.Contains(got, []byte{frameBody, 0, 1}) || !bytes.Contains(got, []byte("/json\x01\x05run-0")) || bytes.Count(got, []byte("k")) != maxKey+1 {
		t.Errorf("%q", got)
	}
}
