// Package bundlestest makes bundles that should not be: zip files with every field open to a lie, bundles of ours that
// are signed and yet wrong, and bundles of Tyk. Tests of bundles, and of what loads them, share it.
package bundlestest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// A Header is what a zip says of an entry, in one of the two places where it does.
type Header struct {
	Signature            uint32
	MadeBy               uint16 // central only
	Needed, Flags        uint16
	Method               uint16
	Time, Date           uint16
	CRC32, Packed, Size  uint32
	Name, Extra, Comment string // Comment central only
	Disk                 uint16 // central only, like the rest
	External             uint32
	Offset               uint32
}

// An Entry is an entry with its two headers. Descriptor is what follows its data.
type Entry struct {
	Local, Central Header
	Data           []byte
	Descriptor     []byte
	Before         []byte // in front of its local header
}

// Stored is an entry in the canonical form.
func Stored(name, content string) Entry {
	h := Header{
		Signature: 0x04034b50, Needed: 20, Date: 0x21, CRC32: crc32.ChecksumIEEE([]byte(content)),
		Packed: uint32(len(content)), Size: uint32(len(content)), Name: name,
	}
	e := Entry{Local: h, Central: h, Data: []byte(content)}
	e.Central.Signature, e.Central.MadeBy = 0x02014b50, 20
	return e
}

// Deflated is an entry in the canonical form, compressed.
func Deflated(name, content string) Entry {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	e := Stored(name, content)
	e.Data = b.Bytes()
	return e.Both(func(h *Header) { h.Method, h.Packed = 8, uint32(b.Len()) })
}

// Streamed is an entry as archive/zip's Writer.Create makes it, and so tyk bundle build: its sizes stand behind the data,
// it has no date, and deflate is of the default level.
func Streamed(name, content string) Entry {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 5) // what archive/zip takes
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	e := Stored(name, content)
	e.Data = b.Bytes()
	e = e.Both(func(h *Header) { h.Method, h.Packed, h.Date, h.Flags = 8, uint32(b.Len()), 0, 8 })
	e.Local.CRC32, e.Local.Packed, e.Local.Size = 0, 0, 0
	return e.describe()
}

// describe puts the descriptor that the central header asks for behind the data.
func (e Entry) describe() Entry {
	e.Descriptor = le32(0x08074b50, e.Central.CRC32, e.Central.Packed, e.Central.Size)
	return e
}

// Both changes both headers.
func (e Entry) Both(change func(*Header)) Entry {
	change(&e.Local)
	change(&e.Central)
	return e
}

// InLocal and InCentral change one header.
func (e Entry) InLocal(change func(*Header)) Entry { change(&e.Local); return e }

// InCentral changes the central header.
func (e Entry) InCentral(change func(*Header)) Entry { change(&e.Central); return e }

// A Zip is entries and what stands around them.
type Zip struct {
	Entries []Entry
	// BeforeDirectory stands between entries and directory, AfterDirectory behind it, Trailing at the very end.
	BeforeDirectory, AfterDirectory, Trailing []byte
	// Order, if there is one, is that of the directory.
	Order []int
	// End changes the end record, 22 bytes and a comment.
	End func([]byte) []byte
	// Offsets, if set, is called with each entry's true offset and returns what the directory says.
	Offsets func(i int, offset uint32) uint32
}

// Bytes returns the file.
func (z Zip) Bytes() []byte {
	var b []byte
	entries := slices.Clone(z.Entries)
	for i, e := range entries {
		b = append(b, e.Before...)
		entries[i].Central.Offset += uint32(len(b))
		if z.Offsets != nil {
			entries[i].Central.Offset = z.Offsets(i, uint32(len(b)))
		}
		b = append(e.Local.local(b), e.Data...)
		b = append(b, e.Descriptor...)
	}
	b = append(b, z.BeforeDirectory...)
	start := len(b)
	order := z.Order
	if order == nil {
		for i := range entries {
			order = append(order, i)
		}
	}
	for _, i := range order {
		b = entries[i].Central.central(b)
	}
	size := len(b) - start
	b = append(b, z.AfterDirectory...)
	end := le32(0x06054b50, 0)
	end = binary.LittleEndian.AppendUint16(end, uint16(len(order)))
	end = binary.LittleEndian.AppendUint16(end, uint16(len(order)))
	end = append(append(end, le32(uint32(size), uint32(start))...), 0, 0)
	if z.End != nil {
		end = z.End(end)
	}
	return append(append(b, end...), z.Trailing...)
}

func (h Header) shared(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range []uint16{h.Needed, h.Flags, h.Method, h.Time, h.Date} {
		b = le.AppendUint16(b, v)
	}
	b = append(b, le32(h.CRC32, h.Packed, h.Size)...)
	b = le.AppendUint16(b, uint16(len(h.Name)))
	return le.AppendUint16(b, uint16(len(h.Extra)))
}

func (h Header) local(b []byte) []byte {
	b = h.shared(append(b, le32(h.Signature)...))
	return append(append(b, h.Name...), h.Extra...)
}

func (h Header) central(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(append(b, le32(h.Signature)...), h.MadeBy)
	b = le.AppendUint16(h.shared(b), uint16(len(h.Comment)))
	b = append(le.AppendUint16(b, h.Disk), 0, 0)
	b = append(b, le32(h.External, h.Offset)...)
	return append(append(append(b, h.Name...), h.Extra...), h.Comment...)
}

func le32(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// Prefix returns the bytes of the first n entries.
func (z Zip) Prefix(n int) []byte {
	var b []byte
	for _, e := range z.Entries[:n] {
		b = append(b, e.Before...)
		b = append(e.Local.local(b), e.Data...)
		b = append(b, e.Descriptor...)
	}
	return b
}
