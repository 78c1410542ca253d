package archive

import (
	"encoding/binary"
	"math"
)

const (
	localSignature      = 0x04034b50
	centralSignature    = 0x02014b50
	endSignature        = 0x06054b50
	descriptorSignature = 0x08074b50
	locatorSignature    = 0x07064b50 // of zip64's end of central directory

	localSize      = 30
	centralSize    = 46
	endSize        = 22
	descriptorSize = 16
	locatorSize    = 20

	version2  = 20     // needed to extract: deflate
	date1980  = 0x0021 // 1980-01-01, the first that a zip can say
	flagCrypt = 1<<0 | 1<<6 | 1<<13
	flagDesc  = 1 << 3
	flagUTF8  = 1 << 11
	flagLevel = 1<<1 | 1<<2 // how hard deflate tried; no reader cares
)

// A header is what the local and the central header of an entry share, and what only the central one has.
type header struct {
	needed, flags, method, time, date uint16
	crc, packed, size                 uint32
	name                              string
	extra, comment                    int // lengths

	disk     uint16
	external uint32
	offset   uint32
}

// parseLocal reads the header at the start of b; false when there is none or it is cut off. The second result is
// its length with name and extra field.
func parseLocal(b []byte) (header, int, bool) {
	le := binary.LittleEndian
	if len(b) < localSize || le.Uint32(b) != localSignature {
		return header{}, 0, false
	}
	h := shared(b[4:])
	length := localSize + int(le.Uint16(b[26:])) + int(le.Uint16(b[28:]))
	if len(b) < length {
		return header{}, 0, false
	}
	h.extra = int(le.Uint16(b[28:]))
	h.name = string(b[localSize : length-h.extra])
	return h, length, true
}

// parseCentral is parseLocal for a record of the central directory.
func parseCentral(b []byte) (header, int, bool) {
	le := binary.LittleEndian
	if len(b) < centralSize || le.Uint32(b) != centralSignature {
		return header{}, 0, false
	}
	h := shared(b[6:])
	name := int(le.Uint16(b[28:]))
	h.extra, h.comment = int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	h.disk, h.external, h.offset = le.Uint16(b[34:]), le.Uint32(b[38:]), le.Uint32(b[42:])
	length := centralSize + name + h.extra + h.comment
	if len(b) < length {
		return header{}, 0, false
	}
	h.name = string(b[centralSize : centralSize+name])
	return h, length, true
}

// shared reads the fields from "version needed" on.
func shared(b []byte) header {
	le := binary.LittleEndian
	return header{
		needed: le.Uint16(b), flags: le.Uint16(b[2:]), method: le.Uint16(b[4:]), time: le.Uint16(b[6:]), date: le.Uint16(b[8:]),
		crc: le.Uint32(b[10:]), packed: le.Uint32(b[14:]), size: le.Uint32(b[18:]),
	}
}

// canonicalHeader is the one header that e has in the canonical form.
func canonicalHeader(e Entry) header {
	return header{
		needed: version2, method: e.Method, date: date1980,
		crc: e.CRC32, packed: uint32(len(e.packed)), size: uint32(e.Size), name: e.Name,
	}
}

// fits reports whether 32 bits can say n, without the value that means zip64.
func fits(n int64) bool { return n >= 0 && n < math.MaxUint32 }

func (h header) appendShared(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint16{h.needed, h.flags, h.method, h.time, h.date} {
		b = le.AppendUint16(b, v)
	}
	for _, v := range []uint32{h.crc, h.packed, h.size} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint16(b, uint16(len(h.name)))
}

func (h header) appendLocal(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, localSignature)
	b = h.appendShared(b)
	b = append(b, 0, 0) // extra field
	return append(b, h.name...)
}

func (h header) appendCentral(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, centralSignature)
	b = le.AppendUint16(b, version2) // made by: DOS, so that attributes mean nothing
	b = h.appendShared(b)
	b = append(b, make([]byte, 12)...) // extra field, comment, disk, attributes
	b = le.AppendUint32(b, h.offset)
	return append(b, h.name...)
}

func appendEnd(b []byte, entries int, size, offset int) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, endSignature)
	b = append(b, 0, 0, 0, 0) // disks
	b = le.AppendUint16(b, uint16(entries))
	b = le.AppendUint16(b, uint16(entries))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(offset))
	return append(b, 0, 0) // comment
}
