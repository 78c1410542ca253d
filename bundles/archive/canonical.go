package archive

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"math"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// EnvelopeName is the last entry of a canonical archive, stored. No other entry lies in its folder.
const (
	EnvelopeName   = Reserved + "bundle.dsse.json"
	Reserved       = "META/"
	envelopeRecord = centralSize + len(EnvelopeName)
)

// Pack returns the local entries of files, in their order: what comes before the envelope. The same files give the
// same bytes with the same release of Go (whose deflate may change).
func Pack(files []File, limits Limits) ([]byte, error) {
	var b []byte
	names := make([]string, 0, len(files))
	for _, f := range files {
		if err := checkCanonicalName(f.Name); err != nil {
			return nil, err
		}
		names = append(names, f.Name)
		e, err := pack(f)
		if err != nil {
			return nil, err
		}
		if !fits(e.Size) || !fits(int64(len(b)+len(e.packed))) {
			return nil, refusal.New(refusal.LimitArchive, "file %q: an archive must be smaller than 4 GiB", f.Name)
		}
		b = append(canonicalHeader(e).appendLocal(b), e.packed...)
	}
	if err := CheckTree(names); err != nil {
		return nil, err
	}
	_, err := locals(b, limits)
	return b, err
}

// pack deflates where that makes the file smaller, and within the ratio.
func pack(f File) (Entry, error) {
	e := Entry{Name: f.Name, Method: Deflated, CRC32: crc32.ChecksumIEEE(f.Content), Size: int64(len(f.Content))}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return e, err
	}
	if _, err := w.Write(f.Content); err != nil {
		return e, err
	}
	if err := w.Close(); err != nil {
		return e, err
	}
	e.packed = b.Bytes()
	tooDense := e.Size > RatioFrom && e.Size/DefaultLimits().Ratio > int64(len(e.packed))
	if len(e.packed) >= len(f.Content) || tooDense {
		e.Method, e.packed = Stored, f.Content
	}
	return e, nil
}

// Seal returns the archive that begins with prefix, made by Pack, and holds envelope: no byte of it is a choice.
func Seal(prefix, envelope []byte, limits Limits) ([]byte, error) {
	if int64(len(envelope)) > limits.Envelope {
		return nil, refusal.New(refusal.LimitEnvelope, "an envelope of %d bytes, at most %d", len(envelope), limits.Envelope)
	}
	entries, err := locals(prefix, limits)
	if err != nil {
		return nil, err
	}
	archive, err := seal(prefix, envelope, entries)
	if err == nil && int64(len(archive)) > limits.Archive {
		err = refusal.New(refusal.LimitArchive, "an archive of %d bytes, at most %d", len(archive), limits.Archive)
	}
	return archive, err
}

func seal(prefix, envelope []byte, entries []Entry) ([]byte, error) {
	rest, err := behind(prefix, envelope, entries)
	return append(bytes.Clone(prefix), rest...), err
}

// behind returns what follows prefix.
func behind(prefix, envelope []byte, entries []Entry) ([]byte, error) {
	last := Entry{Name: EnvelopeName, Method: Stored, CRC32: crc32.ChecksumIEEE(envelope), Size: int64(len(envelope)), packed: envelope}
	b := append(canonicalHeader(last).appendLocal(nil), envelope...)
	start, offset := len(prefix)+len(b), 0
	for _, e := range append(entries, last) {
		h := canonicalHeader(e)
		h.offset = uint32(offset)
		b = h.appendCentral(b)
		offset += localSize + len(e.Name) + len(e.packed)
	}
	end := len(prefix) + len(b)
	if len(entries)+1 >= math.MaxUint16 || !fits(int64(end)) {
		return nil, refusal.New(refusal.LimitArchive, "an archive must be smaller than 4 GiB and have fewer than 65535 files")
	}
	return appendEnd(b, len(entries)+1, end-start, start), nil
}

// IsCanonical reports whether the archive ends as one of ours does: with an envelope as its last entry. It tells forms
// apart and proves nothing.
func IsCanonical(archive []byte) bool {
	at := len(archive) - endSize - len(EnvelopeName)
	return at >= centralSize && string(archive[at:at+len(EnvelopeName)]) == EnvelopeName
}

// Tail finds the envelope from the end of the archive, reading nothing but the end record, the last record of the
// directory and one local header. Nothing else may be done with the archive before the envelope's signatures and the
// digest of prefix, all bytes before the envelope, hold.
func Tail(archive []byte, limits Limits) (prefix, envelope []byte, err error) {
	le := binary.LittleEndian
	if int64(len(archive)) > limits.Archive {
		return nil, nil, refusal.New(refusal.LimitArchive, "an archive of %d bytes, at most %d", len(archive), limits.Archive)
	}
	if err := checkEnd(archive); err != nil {
		return nil, nil, err
	}
	end := len(archive) - endSize
	if end < envelopeRecord {
		return nil, nil, refusal.New(refusal.ZipTruncated, "too short for a bundle")
	}
	record, length, ok := parseCentral(archive[end-envelopeRecord : end])
	if !ok || length != envelopeRecord || record.name != EnvelopeName {
		return nil, nil, refusal.New(refusal.ZipDirectory, "%s is not the last entry", EnvelopeName)
	}
	if int64(record.size) > limits.Envelope {
		return nil, nil, refusal.New(refusal.LimitEnvelope, "an envelope of %d bytes, at most %d", record.size, limits.Envelope)
	}
	directory, offset := int64(le.Uint32(archive[end+16:])), int64(record.offset)
	start := offset + localSize + int64(len(EnvelopeName))
	if start+int64(record.size) != directory || directory > int64(end) || int64(record.packed) != int64(record.size) {
		return nil, nil, refusal.New(refusal.ZipDirectory, "the envelope does not lie before the directory")
	}
	local, _, ok := parseLocal(archive[offset:start])
	if !ok || local.name != EnvelopeName || local.method != Stored {
		return nil, nil, refusal.New(refusal.ZipLocal, "no local header of the envelope where the directory says")
	}
	return archive[:offset:offset], archive[start:directory:directory], nil
}

// Canonical returns the entries of a canonical archive but the envelope, whose prefix and envelope Tail found. All
// bytes are accounted for: what Seal makes of the two must be the archive.
func Canonical(archive, prefix, envelope []byte, limits Limits) ([]Entry, error) {
	entries, err := locals(prefix, limits)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	if err := CheckTree(names); err != nil {
		return nil, err
	}
	rest, err := behind(prefix, envelope, entries)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(archive, prefix) || !bytes.Equal(rest, archive[len(prefix):]) {
		return nil, refusal.New(refusal.ZipDirectory, "the directory is not the one that the entries give")
	}
	return entries, nil
}

// locals reads canonical local entries that follow one another to the end of prefix.
func locals(prefix []byte, limits Limits) ([]Entry, error) {
	var entries []Entry
	count := tally{limits: limits, files: 1} // the envelope
	for rest := prefix; len(rest) > 0; {
		h, length, ok := parseLocal(rest)
		if !ok {
			return nil, refusal.New(refusal.ZipGap, "no entry at byte %d", len(prefix)-len(rest))
		}
		if err := checkCanonicalName(h.name); err != nil {
			return nil, err
		}
		if err := count.add(h); err != nil {
			return nil, err
		}
		if int64(h.packed) > int64(len(rest)-length) {
			return nil, refusal.New(refusal.ZipGap, "entry %q: reaches into what follows", h.name)
		}
		e := Entry{Name: h.name, Method: h.method, CRC32: h.crc, Size: int64(h.size)}
		e.packed = rest[length : length+int(h.packed)]
		if canonicalHeader(e) != h {
			return nil, headerRefusal(h)
		}
		entries = append(entries, e)
		rest = rest[length+int(h.packed):]
	}
	return entries, count.done()
}

func checkCanonicalName(name string) error {
	if err := CheckName(name); err != nil {
		return refusal.New(refusal.ZipName, "%w", err)
	}
	if strings.HasPrefix(Fold(name), Fold(Reserved)) {
		return refusal.New(refusal.ZipName, "%q: the folder %s is reserved", name, Reserved)
	}
	return nil
}

// headerRefusal says which part of a header breaks the canonical form.
func headerRefusal(h header) error {
	switch {
	case h.flags&flagCrypt != 0:
		return refusal.New(refusal.ZipEncrypted, "entry %q: encrypted", h.name)
	case h.flags&flagDesc != 0:
		return refusal.New(refusal.ZipDescriptor, "entry %q: its sizes follow its data", h.name)
	case h.extra != 0:
		return refusal.New(refusal.ZipExtra, "entry %q: has an extra field", h.name)
	}
	return refusal.New(refusal.ZipHeader, "entry %q: its header has flags, a version or a date that the format does not", h.name)
}

// checkEnd demands an end record as the last bytes, without a comment and without zip64.
func checkEnd(archive []byte) error {
	le := binary.LittleEndian
	end := len(archive) - endSize
	if end < 0 {
		return refusal.New(refusal.ZipTruncated, "%d bytes are no zip file", len(archive))
	}
	if le.Uint32(archive[end:]) != endSignature || le.Uint16(archive[end+20:]) != 0 {
		return misplacedEnd(archive)
	}
	if locator := end - locatorSize; locator >= 0 && le.Uint32(archive[locator:]) == locatorSignature {
		return refusal.New(refusal.ZipZip64, "a zip64 end record")
	}
	if le.Uint32(archive[end+4:]) != 0 || le.Uint16(archive[end+8:]) != le.Uint16(archive[end+10:]) {
		return refusal.New(refusal.ZipHeader, "an archive of several disks")
	}
	if le.Uint16(archive[end+10:]) == math.MaxUint16 || le.Uint32(archive[end+12:]) == math.MaxUint32 || le.Uint32(archive[end+16:]) == math.MaxUint32 {
		return refusal.New(refusal.ZipZip64, "sizes that only zip64 can say")
	}
	return nil
}

// misplacedEnd says what stands in the way of the end record.
func misplacedEnd(archive []byte) error {
	tail := archive[max(0, len(archive)-endSize-math.MaxUint16):]
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	switch {
	case at < 0 || len(tail)-at < endSize:
		return refusal.New(refusal.ZipTruncated, "no end record: not a zip file, or cut off")
	case int(binary.LittleEndian.Uint16(tail[at+20:])) == len(tail)-at-endSize:
		return refusal.New(refusal.ZipComment, "a comment of %d bytes", len(tail)-at-endSize)
	}
	return refusal.New(refusal.ZipTrailing, "%d bytes behind the end record", len(tail)-at-endSize)
}
