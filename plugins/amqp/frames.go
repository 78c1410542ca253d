package amqp

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// append writes an item's frames behind b: basic.publish, the header with its properties, and the body in as many as it takes.
func (m *message) append(b []byte, channel uint16, i *ship.Item) []byte {
	b, at := begin(b, frameMethod, channel)
	b = append(b, 0, basic, 0, basicPublish, 0, 0)
	b = appendShort(b, m.exchange)
	b = appendShort(b, i.Key[:min(len(i.Key), maxKey)])
	b = shut(append(b, 0), at) // neither mandatory nor immediate

	b, at = begin(b, frameHeader, channel)
	b = append(b, 0, basic, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(i.Body)))
	b = binary.BigEndian.AppendUint16(b, flags)
	b = appendShort(b, "application/json")
	mode := byte(1)
	if m.persistent {
		mode = 2
	}
	b = append(b, mode, 0)
	id := len(b)
	b = strconv.AppendUint(append(b, m.id...), i.Seq, 10)
	b[id-1] = byte(len(b) - id)
	b = shut(appendShort(b, "turnbuckle"), at)

	most := math.MaxInt
	if m.frame > frameStart+1 {
		most = m.frame - frameStart - 1
	}
	for body := i.Body; len(body) > 0; {
		n := min(len(body), most)
		b, at = begin(b, frameBody, channel)
		b = shut(append(b, body[:n]...), at)
		body = body[n:]
	}
	return b
}

// begin writes the start of a frame, whose payload begins at the place that it returns.
func begin(b []byte, kind byte, channel uint16) ([]byte, int) {
	b = append(b, kind, byte(channel>>8), byte(channel), 0, 0, 0, 0)
	return b, len(b)
}

// shut ends the frame whose payload begins there.
func shut(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return append(b, frameEnd)
}

// appendShort writes a short string (§4.2.5.3).
func appendShort[T string | []byte](b []byte, s T) []byte {
	return append(append(b, byte(len(s))), s...)
}
