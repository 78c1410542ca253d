package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Item is one thing that waits.
type Item struct {
	// Seq counts items; each is one above that before it.
	Seq uint64
	// Key and Body are the spool's caller's own. They are not changed once they have been handed over.
	Key, Body []byte
}

// Size is what an item counts for, in bytes, wherever it waits: what it takes on disk.
func (i *Item) Size() int { return frameHeader + 2 + len(i.Key) + len(i.Body) }

// The shape of a segment: eight bytes of magic, the Seq of its first item in eight bytes, and frames. A frame is the
// length of what follows it in four bytes, the CRC-32C of that length and of what follows in four, the length of the key
// in two, the key, and the body. All numbers are big-endian.
const (
	magic         = "TBSPOOL1"
	segmentHeader = len(magic) + 8
	frameHeader   = 8
	maxKey        = 1<<16 - 1
	maxSeq        = 1 << 62
	// MaxItem bounds key and body of an item together.
	MaxItem = 16 << 20
)

// Fits reports whether an item is one that a spool takes.
func (i *Item) Fits() bool { return len(i.Key) <= maxKey && len(i.Key)+len(i.Body) <= MaxItem }

// Why a frame cannot be read.
var (
	errTorn    = errors.New("the file ends within a frame")
	errCorrupt = errors.New("what was written is not what is read")
)

func appendHeader(b []byte, base uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, magic...), base)
}

// parseHeader returns the Seq of a segment's first item, and whether it is a segment at all.
func parseHeader(b []byte) (base uint64, ok bool) {
	if len(b) < segmentHeader || string(b[:len(magic)]) != magic {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[len(magic):]), true
}

func appendFrame(b []byte, i *Item) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(i.Key)+len(i.Body)))
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(i.Key)))
	b = append(append(b, i.Key...), i.Body...)
	binary.BigEndian.PutUint32(b[start+4:], checksum(b[start:start+4], b[start+frameHeader:]))
	return b
}

func checksum(length, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(length, table), table, payload)
}

// frameSize returns how many bytes a frame has that begins with these, of which there are frameHeader.
func frameSize(header []byte) (int, error) {
	n := binary.BigEndian.Uint32(header)
	if n < 2 || n > MaxItem+2 {
		return 0, errCorrupt
	}
	return frameHeader + int(n), nil
}

// parseFrame reads the frame that b begins with. Key and Body point into b.
func parseFrame(b []byte) (item Item, size int, err error) {
	if len(b) < frameHeader {
		return Item{}, 0, errTorn
	}
	if size, err = frameSize(b); err != nil {
		return Item{}, 0, err
	}
	if len(b) < size {
		return Item{}, 0, errTorn
	}
	payload := b[frameHeader:size]
	if checksum(b[:4], payload) != binary.BigEndian.Uint32(b[4:]) {
		return Item{}, 0, errCorrupt
	}
	key := int(binary.BigEndian.Uint16(payload))
	if 2+key > len(payload) {
		return Item{}, 0, errCorrupt
	}
	return Item{Key: payload[2 : 2+key : 2+key], Body: payload[2+key:]}, size, nil
}
