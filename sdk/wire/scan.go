package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Wire types as they stand in a key: number<<3 | type.
const (
	varint  = uint64(protowire.VarintType)
	fixed64 = uint64(protowire.Fixed64Type)
	length  = uint64(protowire.BytesType)
)

var (
	errMalformed = errors.New("malformed field")
	errTooMany   = errors.New("more entries than a message may hold")
)

// garbage says which message could not be understood.
func garbage(message string, err error) error {
	return fmt.Errorf("%w: %s: %w", sdk.ErrProtocol, message, err)
}

// cursor walks the fields of one message. A field whose wire type is not the expected one has another key and is
// skipped like any unknown field. It holds offsets, not slices: while the collector runs, storing a pointer costs more
// than all the rest of a step.
type cursor struct {
	msg   []byte
	start int // of the field
	from  int // of the contents of a length-delimited field
	at    int // behind the field
	key   uint64
	num   uint64 // value of a varint or fixed64 field
	err   error
}

// next moves to the next field; false at the end and when the message is malformed, see err.
func (c *cursor) next() bool {
	if c.at >= len(c.msg) || c.err != nil {
		return false
	}
	c.start = c.at
	if c.key = uint64(c.msg[c.at]); c.key < 0x80 && c.key >= 8 {
		c.at++
	} else if !c.longKey() {
		return c.fail()
	}
	switch c.key & 7 {
	case varint:
		if !c.uvarint() {
			return c.fail()
		}
	case length:
		if !c.uvarint() || c.num > uint64(len(c.msg)-c.at) {
			return c.fail()
		}
		c.from = c.at
		c.at += int(c.num)
	case fixed64:
		if len(c.msg)-c.at < 8 {
			return c.fail()
		}
		c.num = binary.LittleEndian.Uint64(c.msg[c.at:])
		c.at += 8
	default:
		n := protowire.ConsumeFieldValue(protowire.Number(c.key>>3), protowire.Type(c.key&7), c.msg[c.at:])
		if n < 0 {
			return c.fail()
		}
		c.at += n
	}
	return true
}

// val is the contents of a length-delimited field; it aliases the message.
func (c *cursor) val() []byte { return c.msg[c.from:c.at] }

// field is the whole field, key included; it aliases the message.
func (c *cursor) field() []byte { return c.msg[c.start:c.at] }

func (c *cursor) longKey() bool {
	num, typ, n := protowire.ConsumeTag(c.msg[c.at:])
	if n < 0 || num < protowire.MinValidNumber {
		return false
	}
	c.key = uint64(num)<<3 | uint64(typ)
	c.at += n
	return true
}

func (c *cursor) uvarint() bool {
	if c.at < len(c.msg) && c.msg[c.at] < 0x80 {
		c.num = uint64(c.msg[c.at])
		c.at++
		return true
	}
	v, n := protowire.ConsumeVarint(c.msg[c.at:])
	if n < 0 {
		return false
	}
	c.num = v
	c.at += n
	return true
}

func (c *cursor) fail() bool {
	c.err, c.at = errMalformed, len(c.msg)
	return false
}

// wellFormed reports whether the fields of b can be walked to the end.
func wellFormed(b []byte) error {
	c := cursor{msg: b}
	for c.next() {
	}
	return c.err
}

// each iterates over the length-delimited fields of that number in a message known to be well-formed.
func each(b []byte, number uint64) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for c := (cursor{msg: b}); c.next(); {
			if c.key == number<<3|length && !yield(c.val()) {
				return
			}
		}
	}
}

// part is a message field that may occur several times, which means its merger; and merging messages is concatenating
// their encodings.
type part struct {
	b    []byte
	set  bool
	copy bool // b is ours
}

func (p *part) merge(val []byte) {
	switch {
	case !p.set:
		p.b, p.set = val, true
	case len(val) == 0:
	case p.copy:
		p.b = append(p.b, val...)
	default:
		p.b, p.copy = append(append(make([]byte, 0, 2*(len(p.b)+len(val))), p.b...), val...), true
	}
}

// entry reads a map entry of strings; key and value alias it.
func entry(b []byte) (key, value []byte, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			key = c.val()
		case 2<<3 | length:
			value = c.val()
		}
	}
	return key, value, c.err
}

// arena makes strings out of bytes, many of them in one allocation. What is kept of one string keeps its chunk.
type arena struct {
	b    strings.Builder
	size int // of the next chunk
}

func (a *arena) str(v []byte) string {
	if len(v) == 0 {
		return ""
	}
	at := a.b.Len()
	if a.b.Cap()-at < len(v) {
		a.b = strings.Builder{}
		a.b.Grow(max(a.size, len(v)))
		at = 0
	}
	a.b.Write(v)
	return a.b.String()[at:]
}
