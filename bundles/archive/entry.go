package archive

import (
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// An Unpacker unpacks one entry after the other, with the same memory for all. The zero value is ready; it is for one
// goroutine at a time.
type Unpacker struct {
	flate  io.ReadCloser
	buffer []byte
}

// Unpack is new(Unpacker).Unpack of e.
func (e Entry) Unpack(w io.Writer) error { return new(Unpacker).Unpack(e, w) }

// deflated reads a compressed stream.
func (u *Unpacker) deflated(source *bytes.Reader) (io.Reader, error) {
	if u.flate == nil {
		u.flate = flate.NewReader(source)
		return u.flate, nil
	}
	resetter, ok := u.flate.(flate.Resetter)
	if !ok {
		return flate.NewReader(source), nil
	}
	return u.flate, resetter.Reset(source, nil)
}

// Unpack writes the file's content to w: exactly Size bytes with the CRC of the headers, or an error. What w got
// before an error must not be used. An error of w is returned as it is.
func (u *Unpacker) Unpack(e Entry, w io.Writer) error {
	source := bytes.NewReader(e.packed)
	var content io.Reader = source
	if e.Method == Deflated {
		var err error
		if content, err = u.deflated(source); err != nil {
			return err
		}
	}
	if u.buffer == nil {
		u.buffer = make([]byte, 32<<10)
	}
	sum := crc32.NewIEEE()
	out := &sink{w: w}
	// One byte more than there should be shows what is longer, without unpacking all of it.
	n, err := io.CopyBuffer(io.MultiWriter(out, sum), io.LimitReader(content, e.Size+1), u.buffer)
	switch {
	case out.err != nil:
		return out.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refusal.New(refusal.ZipData, "entry %q: its compressed data ends too early", e.Name)
	case err != nil:
		return refusal.New(refusal.ZipData, "entry %q: %w", e.Name, err)
	case n != e.Size:
		return refusal.New(refusal.ZipData, "entry %q: unpacks to other than the %d bytes that its header says", e.Name, e.Size)
	}
	// The end of the stream has to be read too, and to be the end of the entry.
	if n, err := content.Read(u.buffer[:1]); n != 0 || !errors.Is(err, io.EOF) || source.Len() != 0 {
		return refusal.New(refusal.ZipData, "entry %q: data behind its compressed stream", e.Name)
	}
	if sum.Sum32() != e.CRC32 {
		return refusal.New(refusal.ZipData, "entry %q: its CRC is not the one of its header", e.Name)
	}
	return nil
}

// A sink tells errors of writing from those of reading.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// Content unpacks the file into memory.
func (e Entry) Content() ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(e.Size, 1<<20)))
	if err := e.Unpack(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// tally checks entries against limits as they come.
type tally struct {
	limits        Limits
	files         int
	packed, total int64
}

func (t *tally) add(h header) error {
	size, packed := int64(h.size), int64(h.packed)
	t.files++
	t.total += size
	t.packed += packed
	switch l := t.limits; {
	case t.files > l.Files:
		return refusal.New(refusal.LimitFiles, "more than %d files", l.Files)
	case size > l.File:
		return refusal.New(refusal.LimitFile, "entry %q: %d bytes, at most %d", h.name, size, l.File)
	case t.total > l.Total:
		return refusal.New(refusal.LimitTotal, "more than %d bytes unpacked", l.Total)
	case size > RatioFrom && size/l.Ratio > packed:
		return refusal.New(refusal.LimitRatio, "entry %q: unpacks to more than %d times its size", h.name, l.Ratio)
	case h.method != Stored && h.method != Deflated:
		return refusal.New(refusal.ZipMethod, "entry %q: compressed with method %d", h.name, h.method)
	case h.method == Stored && size != packed:
		return refusal.New(refusal.ZipHeader, "entry %q: stored, and yet of two sizes", h.name)
	}
	return nil
}

// done checks what holds for all entries together.
func (t *tally) done() error {
	if t.total > RatioFrom && t.total/t.limits.Ratio > t.packed {
		return refusal.New(refusal.LimitRatio, "unpacks to more than %d times its size", t.limits.Ratio)
	}
	return nil
}
