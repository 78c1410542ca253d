package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// reader reads frames of one segment in order.
type reader struct {
	of     *segment
	file   *os.File
	buf    *bufio.Reader
	offset int64 // of what buf returns next
}

func (r *reader) closeFile() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.of, r.file = nil, nil
	return err
}

// close lets go of a segment that goes away.
func (r *reader) close(g *segment) {
	if r.of == g {
		_ = r.closeFile() // it was only read
	}
}

// seek makes the reader read from an offset of a segment.
func (r *reader) seek(g *segment, offset int64) error {
	if r.of == g && r.offset == offset {
		return nil
	}
	if r.of != g {
		_ = r.closeFile() // it was only read
		file, err := os.Open(g.path)
		if err != nil {
			return err
		}
		r.of, r.file = g, file
	}
	if _, err := r.file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if r.buf == nil {
		r.buf = bufio.NewReaderSize(nil, 64<<10)
	}
	r.buf.Reset(r.file)
	r.offset = offset
	return nil
}

// frame reads the next frame, in memory of its own. It returns io.EOF where the segment ends.
func (r *reader) frame() (Item, error) {
	header, err := r.buf.Peek(frameHeader)
	if len(header) == 0 && errors.Is(err, io.EOF) {
		return Item{}, io.EOF
	}
	if err != nil {
		return Item{}, tornAt(err)
	}
	size, err := frameSize(header)
	if err != nil {
		return Item{}, err
	}
	if left := r.of.size - r.offset; int64(size) > left {
		return Item{}, errTorn // nothing is made for a length that the file does not have
	}
	b := make([]byte, size)
	if _, err = io.ReadFull(r.buf, b); err != nil {
		return Item{}, tornAt(err)
	}
	item, _, err := parseFrame(b)
	if err == nil {
		r.offset += int64(size)
	}
	return item, err
}

func tornAt(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// recover finds what an earlier process has left.
func (s *Spool) recover() error {
	s.acked = s.readCursor()
	s.saved = s.acked
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // in the order of their names, which is that of their items
		if !strings.HasSuffix(e.Name(), ".seg") {
			continue
		}
		g, err := s.scan(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return err
		}
		if g != nil && g.end == g.base {
			err = os.Remove(g.path) // it had only begun
		} else if g != nil {
			s.segments = append(s.segments, g)
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return int(min(max(int64(a.base)-int64(b.base), -1), 1)) })
	s.next = s.acked + 1
	for _, g := range s.segments {
		s.next = max(s.next, g.end)
	}
	s.trim()
	s.at = place{seq: 1}
	return s.skip()
}

// readCursor returns how far everything was delivered; 0 when that is not known.
func (s *Spool) readCursor() uint64 {
	b, err := os.ReadFile(filepath.Join(s.dir, "cursor"))
	if err != nil || len(b) != 12 || checksum(nil, b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0
	}
	if seq := binary.BigEndian.Uint64(b); seq <= maxSeq {
		return seq
	}
	return 0
}

// scan counts the items of a segment, and cuts off what cannot be read. A file that is no segment is renamed, so that
// somebody can look at it.
func (s *Spool) scan(path string) (*segment, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // what was cut off is cut off
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	g := &segment{path: path, size: info.Size()}
	header := make([]byte, segmentHeader)
	_, err = io.ReadFull(file, header)
	base, ok := parseHeader(header)
	if err != nil || !ok || base == 0 || base > maxSeq {
		if g.size < int64(segmentHeader) {
			return nil, os.Remove(path) // it had only begun
		}
		s.lost.Corrupt++
		return nil, os.Rename(path, path+".corrupt")
	}
	// The header has no checksum; the name says the same, and is believed before it.
	if named, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".seg"), 10, 64); err == nil && named != base && named > 0 && named <= maxSeq {
		s.lost.Corrupt++
		base = named
		if _, err := file.WriteAt(appendHeader(nil, base), 0); err != nil {
			return nil, err
		}
	}
	g.base, g.end = base, base
	in := reader{of: g, file: file, buf: bufio.NewReaderSize(file, 64<<10), offset: int64(segmentHeader)}
	for {
		_, err := in.frame()
		if err == nil {
			g.end++
			continue
		}
		if errors.Is(err, errCorrupt) {
			s.lost.Corrupt++
		} else if !errors.Is(err, io.EOF) && !errors.Is(err, errTorn) {
			return nil, err
		}
		break
	}
	g.size = in.offset
	if g.size < info.Size() {
		return g, file.Truncate(g.size)
	}
	return g, nil
}

// trim deletes segments of which everything is delivered.
func (s *Spool) trim() {
	for len(s.segments) > 0 && s.segments[0].end <= s.acked+1 {
		s.forget()
	}
}

// skip moves the place to the first item that is not delivered.
func (s *Spool) skip() error {
	for s.at.seq <= s.acked {
		if g := s.holder(s.at.seq); g == nil || g.base > s.acked { // what is delivered is gone: there is nothing to pass over
			s.at = place{seq: s.acked + 1}
			break
		}
		if _, err := s.step(&s.at); errors.Is(err, io.EOF) {
			s.at = place{seq: s.acked + 1}
		} else if err != nil {
			return err
		}
	}
	s.ahead = s.at
	return nil
}

// step reads the item at a place and moves on to the next.
func (s *Spool) step(p *place) (Item, error) {
	for {
		g := s.holder(p.seq)
		if g == nil {
			return Item{}, io.EOF
		}
		if p.seq <= g.base {
			*p = place{g.base, int64(segmentHeader)}
		}
		err := s.in.seek(g, p.offset)
		var item Item
		if err == nil {
			item, err = s.in.frame()
		}
		if err == nil {
			item.Seq = p.seq
			p.seq++
			p.offset = s.in.offset // of no matter when another segment begins with the next
			return item, nil
		}
		s.in.close(g)
		if !lost(err) {
			return Item{}, fmt.Errorf("spool: %w", err) // for want of a descriptor, say: it is there another time
		}
		// It was whole when it was written or opened: the disk has lost it. What comes behind it in the segment is gone.
		s.lost.Corrupt++
		s.lost.Dropped += g.end - p.seq
		if g == s.tail() {
			if err := s.leave(); err != nil {
				return Item{}, err
			}
		}
		g.end, g.size = p.seq, max(p.offset, int64(segmentHeader))
		if err := os.Truncate(g.path, g.size); err != nil && !errors.Is(err, os.ErrNotExist) {
			return Item{}, fmt.Errorf("spool: %w", err)
		}
	}
}

// lost reports whether an error says that what was written is not there any more.
func lost(err error) bool {
	return errors.Is(err, errTorn) || errors.Is(err, errCorrupt) || errors.Is(err, io.EOF) || errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// holder is the segment with the item of that number, or, when it is gone, with the next there is.
func (s *Spool) holder(seq uint64) *segment {
	for _, g := range s.segments {
		if g.end > seq && g.end > g.base {
			return g
		}
	}
	return nil
}

// Read returns the items that wait, the oldest first: at most so many, and, but for the first, at most so many bytes. They
// go on waiting until Ack. The items are the caller's.
func (s *Spool) Read(items, bytes int) ([]Item, error) {
	var out []Item
	p := s.at
	for len(out) < items {
		before := p
		item, err := s.step(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return out, err
		}
		if bytes -= item.Size(); bytes < 0 && len(out) > 0 {
			p = before
			break
		}
		out = append(out, item)
	}
	s.ahead = p
	return out, nil
}

// Ack says that every item up to that number is delivered.
func (s *Spool) Ack(seq uint64) error {
	if seq = min(seq, s.next-1); seq <= s.acked {
		return nil
	}
	s.acked = seq
	if s.ahead.seq == s.acked+1 {
		s.at = s.ahead
	} else if err := s.skip(); err != nil {
		return err
	}
	s.trim()
	return s.settle(false)
}
