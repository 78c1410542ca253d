package amqp

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// Of AMQP 0-9-1's frames (§4.2.3): type, channel and size, a payload, and an end. Publisher confirms are RabbitMQ's.
const (
	frameMethod, frameHeader, frameBody, frameHeartbeat = 1, 2, 3, 8

	frameStart = 7 // octets before the payload
	frameEnd   = 0xce

	basic, basicPublish, basicAck, basicNack = 60, 40, 80, 120
	confirm, confirmSelected                 = 85, 11

	confirmSize = 2 + 2 + 8 + 1 // class, method, delivery tag, bits
)

// Flags of a message's properties (§4.2.6.1).
const flags = 1<<15 | 1<<12 | 1<<7 | 1<<3 // content type, delivery mode, message id, application id

// link is the connection to a broker on which the library has opened a channel that confirms. It writes messages there itself,
// and takes the confirms out of what the library reads: the library makes some fifty allocations for each message and keeps a
// channel of Go's for it until it is confirmed, which is most of what a message costs.
// Writing and reading are each one goroutine's.
type link struct {
	corked
	in    *bufio.Reader
	whole int       // octets left of a frame that is the library's
	alive time.Time // when the library was last told that the broker is alive
	beat  []byte    // what is left to tell it

	state sync.Mutex
	on    uint16 // the channel that confirms, 0: none yet
	next  uint64 // delivery tag of the next message that is published
	batch confirms
}

// confirms are what the broker has said of a batch.
type confirms struct {
	first   uint64 // delivery tag of its first message
	said    []bool
	arrived int           // so many from the first on are confirmed
	refused bool          // one is, by the broker
	done    chan struct{} // closed when there is nothing to wait for
}

func newLink(conn net.Conn) *link {
	const room = 16 << 10
	return &link{corked: corked{Conn: conn}, in: bufio.NewReaderSize(conn, room), alive: time.Now(), next: 1}
}

// begin expects confirms of n messages that are published next, at least one. The channel is closed when all have come, or one
// was refused.
func (l *link) begin(n int) <-chan struct{} {
	l.state.Lock()
	defer l.state.Unlock()
	l.batch = confirms{first: l.next, said: append(l.batch.said[:0], make([]bool, n)...), done: make(chan struct{})}
	l.next += uint64(n)
	return l.batch.done
}

// arrived is how many messages of the batch the broker has confirmed, up to the first that it has not.
func (l *link) arrived() (n int, refused bool) {
	l.state.Lock()
	defer l.state.Unlock()
	return l.batch.arrived, l.batch.refused
}

// settle notes what the broker says of one message, or of all up to it.
func (l *link) settle(tag uint64, multiple, taken bool) {
	l.state.Lock()
	defer l.state.Unlock()
	b := &l.batch
	if multiple && tag == 0 { // all there are
		tag = l.next - 1
	}
	if tag < b.first || tag-b.first >= uint64(len(b.said)) || b.refused || b.arrived == len(b.said) {
		return
	}
	at := int(tag - b.first)
	switch {
	case !taken:
		b.refused = true
	case multiple:
		for i := b.arrived; i <= at; i++ {
			b.said[i] = true
		}
	default:
		b.said[at] = true
	}
	for b.arrived < len(b.said) && b.said[b.arrived] {
		b.arrived++
	}
	if b.refused || b.arrived == len(b.said) {
		close(b.done)
	}
}

// Read implements [net.Conn]. It returns whole frames that are not confirms, in pieces. Where many confirms come it says now and
// then that the broker is alive: one that speaks sends no heartbeats.
func (l *link) Read(p []byte) (int, error) {
	for l.whole == 0 && len(l.beat) == 0 {
		start, err := l.in.Peek(frameStart)
		if err != nil {
			if l.in.Buffered() > 0 {
				return l.in.Read(p)
			}
			return 0, err
		}
		size := int(binary.BigEndian.Uint32(start[3:]))
		l.whole = frameStart + size + 1
		if start[0] != frameMethod || size > confirmSize {
			continue
		}
		frame, err := l.in.Peek(l.whole)
		if err != nil {
			continue // the library finds out
		}
		if l.hear(binary.BigEndian.Uint16(start[1:]), frame[frameStart:frameStart+size]) {
			_, err = l.in.Discard(l.whole)
			l.whole = 0
			if now := time.Now(); err == nil && l.in.Buffered() == 0 && now.Sub(l.alive) > time.Second {
				l.alive, l.beat = now, []byte{frameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd}
			}
		}
	}
	if len(l.beat) > 0 {
		n := copy(p, l.beat)
		l.beat = l.beat[n:]
		return n, nil
	}
	n, err := l.in.Read(p[:min(len(p), l.whole)])
	l.whole -= n
	return n, err
}

// hear reports whether a method is a confirm, and notes what it says.
func (l *link) hear(channel uint16, method []byte) bool {
	const classAndMethod = 4
	if len(method) < classAndMethod {
		return false
	}
	class, what := binary.BigEndian.Uint16(method), binary.BigEndian.Uint16(method[2:])
	l.state.Lock()
	if class == confirm && what == confirmSelected {
		l.on = channel
	}
	ours := l.on == channel && channel != 0
	l.state.Unlock()
	if !ours || class != basic || what != basicAck && what != basicNack || len(method) != confirmSize {
		return false
	}
	l.settle(binary.BigEndian.Uint64(method[classAndMethod:]), method[confirmSize-1]&1 != 0, what == basicAck)
	return true
}

// message is what all messages have in common.
type message struct {
	exchange   string // at most 255 octets, as each of these
	id         []byte // and the item's number make a message's id
	persistent bool
	frame      int // octets that a frame may have, 0: any number
}

// publish writes items as messages. Nothing else of the link's is written between a message's frames.
func (l *link) publish(m *message, items []ship.Item) error {
	l.state.Lock()
	channel := l.on
	l.state.Unlock()
	for i := range items {
		if err := l.gather(func(b []byte) []byte { return m.append(b, channel, &items[i]) }); err != nil {
			return err
		}
	}
	return nil
}
