package distributed

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

const (
	messageVersion = 1
	headerSize     = 1 + 8 + 1
	loadSize       = 16 + 8 + 4*4
	loadsAtOnce    = 1500 // in one message, about 60 KiB
)

// What a message says of its sender, beside that it is there.
const (
	flagHello = 1 << iota // it has just begun: tell it everything
	flagBye               // it ends
)

// digest names a bucket between gateways, without its key.
type digest [16]byte

func digestOf(k limit.Key) digest {
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, uint64(len(k.Owner)))
	b = append(append(b, k.Owner...), k.Scope...)
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

// load is what a gateway tells of a bucket.
type load struct {
	bucket digest
	passed uint64  // since the gateway has the bucket
	recent uint32  // of these, in the last beat
	demand float32 // requests it is asked for, per second
	level  float32 // requests used, of all gateways, as far as it knows
	empty  float32 // seconds until nothing is used, if nobody asks
}

// message is version, sender, flags, and loads, all of fixed size and big-endian.
type message struct {
	sender uint64
	flags  byte
	loads  []load
}

func (m *message) append(b []byte) []byte {
	b = append(b, messageVersion)
	b = binary.BigEndian.AppendUint64(b, m.sender)
	b = append(b, m.flags)
	for _, l := range m.loads {
		b = append(b, l.bucket[:]...)
		b = binary.BigEndian.AppendUint64(b, l.passed)
		b = binary.BigEndian.AppendUint32(b, l.recent)
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(l.demand))
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(l.level))
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(l.empty))
	}
	return b
}

var errMessage = errors.New("limits: a message of another version, or cut off")

// parse reads a message. Numbers that no gateway tells are refused.
func (m *message) parse(b []byte) error {
	if len(b) < headerSize || b[0] != messageVersion || (len(b)-headerSize)%loadSize != 0 {
		return errMessage
	}
	m.sender, m.flags = binary.BigEndian.Uint64(b[1:]), b[9]
	m.loads = m.loads[:0]
	for b = b[headerSize:]; len(b) > 0; b = b[loadSize:] {
		l := load{
			bucket: digest(b[:16]), passed: binary.BigEndian.Uint64(b[16:]), recent: binary.BigEndian.Uint32(b[24:]),
			demand: math.Float32frombits(binary.BigEndian.Uint32(b[28:])),
			level:  math.Float32frombits(binary.BigEndian.Uint32(b[32:])),
			empty:  math.Float32frombits(binary.BigEndian.Uint32(b[36:])),
		}
		if !sane(l.demand) || !sane(l.level) || !sane(l.empty) {
			return errMessage
		}
		m.loads = append(m.loads, l)
	}
	return nil
}

// sane refuses what is negative, infinite or no number.
func sane(f float32) bool { return f >= 0 && f <= math.MaxFloat32 }
