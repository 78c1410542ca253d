package counts

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"
)

const (
	magic     = "tbcount1"
	blockHead = 8
	maxBlock  = 256 << 10 // bytes after the head
	maxCount  = 16 + 3*binary.MaxVarintLen64
)

// Name says whose count it is, and of what: an owner's counts are forgotten together.
type Name struct{ Owner, Scope string }

// Count is how much is used, since when, and when that does not matter any more. Nothing used is no count.
type Count struct {
	Used  int64 // not negative
	Begun int64 // milliseconds since 1970
	Ends  int64 // the same; 0 or less is never
}

// ended reports whether the count's end has come.
func (c Count) ended(now time.Time) bool { return c.Ends > 0 && now.UnixMilli() >= c.Ends }

// Change is a count's new value.
type Change struct {
	Name
	Count
}

// id is a name as it is kept. A collision takes two owners with 64 equal bits.
type id struct{ owner, scope uint64 }

func identify(n Name) id { return id{digest(n.Owner), digest(n.Scope)} }

// digest is the first 64 bits of a part's SHA-256; of one that is a SHA-256 in hex, as most owners are, the first 64 bits of
// that; nothing of an empty part.
func digest(part string) uint64 {
	if part == "" {
		return 0
	}
	if bits, is := hexDigest(part); is {
		return bits
	}
	var room [128]byte
	sum := sha256.Sum256(append(room[:0], part...))
	return binary.BigEndian.Uint64(sum[:])
}

func hexDigest(part string) (bits uint64, is bool) {
	if len(part) != 2*sha256.Size {
		return 0, false
	}
	for i := range 16 {
		c := part[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		bits = bits<<4 | uint64(c)
	}
	return bits, true
}

// beginBlock makes room for a block's head.
func beginBlock(b []byte) []byte { return append(b[:0], make([]byte, blockHead)...) }

func appendCount(b []byte, of id, c Count) []byte {
	b = binary.BigEndian.AppendUint64(b, of.owner)
	b = binary.BigEndian.AppendUint64(b, of.scope)
	b = binary.AppendUvarint(b, uint64(max(0, c.Used)))
	b = binary.AppendVarint(b, c.Begun)
	return binary.AppendUvarint(b, uint64(max(0, c.Ends)))
}

// endBlock fills in the head.
func endBlock(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-blockHead))
	binary.BigEndian.PutUint32(b[4:], checksum(b[blockHead:]))
	return b
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// What is wrong with a block.
var (
	errTorn   = errors.New("a block that was not written to its end")
	errInside = errors.New("a block that is damaged, with others behind it")
)

// readBlock reads a block of a file of which left bytes are left, into the given memory, and returns what follows the
// head. io.EOF is the end of the file.
func readBlock(r io.Reader, left int64, into []byte) ([]byte, error) {
	var head [blockHead]byte
	if left == 0 {
		return nil, io.EOF
	}
	torn := errTorn
	if left > blockHead+maxBlock {
		torn = errInside // whatever it says of its length
	}
	if left < blockHead {
		return nil, torn
	}
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(head[:]))
	if size == 0 || size > maxBlock || size > left-blockHead {
		return nil, torn
	}
	if size < left-blockHead {
		torn = errInside
	}
	body := append(into[:0], make([]byte, size)...)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if checksum(body) != binary.BigEndian.Uint32(head[4:]) {
		return nil, torn
	}
	return body, nil
}

// parseCount reads the first count of a block, and returns what is left of it.
func parseCount(b []byte) (of id, c Count, rest []byte, err error) {
	bad := errors.New("a block whose counts cannot be read")
	if len(b) < 16 {
		return id{}, Count{}, nil, bad
	}
	of = id{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
	b = b[16:]
	used, n := binary.Uvarint(b)
	if n <= 0 || used > 1<<63-1 {
		return id{}, Count{}, nil, bad
	}
	b = b[n:]
	begun, n := binary.Varint(b)
	if n <= 0 {
		return id{}, Count{}, nil, bad
	}
	b = b[n:]
	ends, n := binary.Uvarint(b)
	if n <= 0 || ends > 1<<63-1 {
		return id{}, Count{}, nil, bad
	}
	return of, Count{int64(used), begun, int64(ends)}, b[n:], nil
}
