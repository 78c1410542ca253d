package archive

import (
	"encoding/binary"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// Modes and attributes that other systems' packers leave in a record.
const (
	modeType      = 0xf000
	modeRegular   = 0x8000
	modeDirectory = 0x4000
	dosLabel      = 0x08
	dosDirectory  = 0x10
)

// Scan returns the entries of an archive that others packed, folders among them. The entries must follow one another
// from the first byte to the directory, in its order, each local header saying what the directory says, and a data
// descriptor what both say; so whoever reads from the front and whoever reads from the back finds the same. Extra
// fields, comments, zip64, encryption and special files are refused.
func Scan(archive []byte, limits Limits) ([]Entry, error) {
	le := binary.LittleEndian
	if int64(len(archive)) > limits.Archive {
		return nil, refusal.New(refusal.LimitArchive, "an archive of %d bytes, at most %d", len(archive), limits.Archive)
	}
	if err := checkEnd(archive); err != nil {
		return nil, err
	}
	end := len(archive) - endSize
	size, start := int64(le.Uint32(archive[end+12:])), int64(le.Uint32(archive[end+16:]))
	if start+size != int64(end) {
		return nil, refusal.New(refusal.ZipDirectory, "the directory does not lie before the end record")
	}
	s := scanner{archive: archive, directory: int(start), count: tally{limits: limits}}
	var names []string
	for rest := archive[start:end]; len(rest) > 0; {
		h, length, ok := parseCentral(rest)
		if !ok {
			return nil, refusal.New(refusal.ZipDirectory, "a record of the directory is cut off or none")
		}
		if err := s.entry(h); err != nil {
			return nil, err
		}
		names = append(names, h.name)
		rest = rest[length:]
	}
	switch {
	case s.at != s.directory:
		return nil, refusal.New(refusal.ZipGap, "%d bytes between the last entry and the directory", s.directory-s.at)
	case len(s.entries) != int(le.Uint16(archive[end+10:])):
		return nil, refusal.New(refusal.ZipDirectory, "the end record counts %d entries, there are %d", le.Uint16(archive[end+10:]), len(s.entries))
	}
	if err := CheckTree(names); err != nil {
		return nil, err
	}
	return s.entries, s.count.done()
}

// A scanner walks along the directory and the entries at once.
type scanner struct {
	archive   []byte
	directory int // where it begins
	at        int // where the next entry begins
	entries   []Entry
	count     tally
}

func (s *scanner) entry(h header) error {
	if err := checkRecord(h); err != nil {
		return err
	}
	if err := s.count.add(h); err != nil {
		return err
	}
	if int64(h.offset) != int64(s.at) {
		return refusal.New(refusal.ZipGap, "entry %q: begins at byte %d, the one before it ends at %d", h.name, h.offset, s.at)
	}
	body := s.archive[s.at:s.directory]
	local, length, ok := parseLocal(body)
	if !ok {
		return refusal.New(refusal.ZipLocal, "entry %q: no local header where the directory says", h.name)
	}
	if err := compareLocal(h, local); err != nil {
		return err
	}
	if int64(h.packed) > int64(len(body)-length) {
		return refusal.New(refusal.ZipGap, "entry %q: reaches into the directory", h.name)
	}
	data, after := body[length:length+int(h.packed)], body[length+int(h.packed):]
	s.at += length + len(data)
	if h.flags&flagDesc != 0 {
		if !descriptor(h, after) {
			return refusal.New(refusal.ZipDescriptor, "entry %q: behind its data stand other sizes than in the directory", h.name)
		}
		s.at += descriptorSize
	}
	dir := strings.HasSuffix(h.name, "/")
	s.entries = append(s.entries, Entry{Name: h.name, Method: h.method, CRC32: h.crc, Size: int64(h.size), Dir: dir, packed: data})
	return nil
}

// checkRecord judges a record of the directory by itself.
func checkRecord(h header) error {
	name, folder := strings.CutSuffix(h.name, "/")
	if err := checkOpenName(name); err != nil {
		return refusal.New(refusal.ZipName, "%w", err)
	}
	ascii := strings.IndexFunc(name, func(r rune) bool { return r >= 0x80 }) < 0
	mode := h.external >> 16 & modeType
	switch {
	case !ascii && h.flags&flagUTF8 == 0:
		return refusal.New(refusal.ZipName, "%q is not marked as UTF-8, so readers differ about it", name)
	case Fold(name) == Fold(EnvelopeName):
		return refusal.New(refusal.ZipDirectory, "%s is not the last entry", EnvelopeName)
	case h.flags&flagCrypt != 0:
		return refusal.New(refusal.ZipEncrypted, "entry %q: encrypted", h.name)
	case h.flags&^(flagDesc|flagUTF8|flagLevel) != 0:
		return refusal.New(refusal.ZipHeader, "entry %q: flags %#04x", h.name, h.flags)
	case h.extra != 0:
		return refusal.New(refusal.ZipExtra, "entry %q: has an extra field", h.name)
	case h.comment != 0:
		return refusal.New(refusal.ZipComment, "entry %q: has a comment", h.name)
	case h.disk != 0:
		return refusal.New(refusal.ZipHeader, "entry %q: lies on another disk", h.name)
	case h.needed > version2:
		return refusal.New(refusal.ZipHeader, "entry %q: needs version %d.%d of the format", h.name, h.needed/10, h.needed%10)
	case mode != 0 && mode != modeRegular && (!folder || mode != modeDirectory), folder && mode == modeRegular:
		return refusal.New(refusal.ZipSymlink, "entry %q: neither a file nor a folder", h.name)
	case h.external&dosLabel != 0:
		return refusal.New(refusal.ZipHeader, "entry %q: the label of a volume, which some readers leave out", h.name)
	case !folder && h.external&dosDirectory != 0, folder && (h.size != 0 || h.packed != 0 || h.crc != 0):
		return refusal.New(refusal.ZipHeader, "entry %q: a file and a folder at once", h.name)
	case h.flags&flagDesc != 0 && h.method == Stored:
		return refusal.New(refusal.ZipDescriptor, "entry %q: stored, with its sizes behind it", h.name)
	}
	return nil
}

func compareLocal(h, local header) error {
	if local.extra != 0 {
		return refusal.New(refusal.ZipExtra, "entry %q: has an extra field in its local header", h.name)
	}
	sizes := local.crc == h.crc && local.packed == h.packed && local.size == h.size
	if h.flags&flagDesc != 0 {
		sizes = sizes || local.crc == 0 && local.packed == 0 && local.size == 0
	}
	same := local.name == h.name && local.needed == h.needed && local.flags == h.flags && local.method == h.method &&
		local.time == h.time && local.date == h.date
	if !sizes || !same {
		return refusal.New(refusal.ZipLocal, "entry %q: its local header (%q) says other things than the directory", h.name, local.name)
	}
	return nil
}

func descriptor(h header, b []byte) bool {
	le := binary.LittleEndian
	return len(b) >= descriptorSize && le.Uint32(b) == descriptorSignature && le.Uint32(b[4:]) == h.crc &&
		le.Uint32(b[8:]) == h.packed && le.Uint32(b[12:]) == h.size
}
