// Package spool is a queue on disk for what could not be delivered yet. It is bounded in size, keeps the order, outlives
// its process, and says what it had to drop.
//
// A folder holds segments, files of frames that are only appended to (frame.go draws them), and a cursor, which says up
// to where everything has been delivered. Segments that are delivered are deleted; beyond the bound the oldest goes, whole.
// A process that dies leaves at most one torn frame, at the end of the last segment: it is cut off. A frame in the middle
// that is not what was written ends its segment: what follows it there is lost, and counted.
//
// The cursor is written once a second at most, so that after a crash what was delivered last may be delivered again.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrLocked says that another process, or another spool of this one, has the folder.
var ErrLocked = errors.New("another has the spool's folder")

// Options say where a spool is and how large it may get.
type Options struct {
	Dir string
	// Size bounds the segments together, in bytes.
	Size int64
}

// Spool is an open spool. It is not safe for concurrent use.
type Spool struct {
	dir     string
	size    int64
	segment int64 // at which size a segment is full
	lock    *os.File

	segments []*segment // oldest first; the last is written to while out is open
	out      *os.File
	dirty    bool
	synced   time.Time
	frames   []byte // memory for what is written next

	next  uint64 // Seq of the next item that is appended
	acked uint64 // Seq of the last item that was delivered
	saved uint64 // what the cursor's file says of acked
	last  time.Time

	at    place // of the item behind acked
	ahead place // behind what Read returned last
	in    reader

	lost Lost
}

// Lost counts what a spool could not keep.
type Lost struct {
	Dropped uint64 // items beyond the bound, the oldest first
	Corrupt uint64 // segments that could not be read to their end
}

// segment is one file.
type segment struct {
	path string
	base uint64 // Seq of its first item
	end  uint64 // Seq behind its last
	size int64
}

// place is where an item begins.
type place struct {
	seq    uint64
	offset int64 // in the segment that has seq
}

const (
	segmentParts = 16 // of the bound
	minSegment   = 64 << 10
	maxSegment   = 8 << 20
	saveEvery    = time.Second
	maxFrames    = 1 << 20 // of memory that is kept for what is written next
)

// Open opens the spool in a folder, which it makes, with what is left in it.
func Open(o Options) (*Spool, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(o.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{dir: o.Dir, size: o.Size, segment: min(max(o.Size/segmentParts, minSegment), maxSegment), lock: lock}
	free, err := lockFile(lock)
	if err == nil && !free {
		err = fmt.Errorf("%w: %s", ErrLocked, o.Dir)
	}
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool: %w", err), lock.Close())
	}
	return s, nil
}

// Len is how many items wait.
func (s *Spool) Len() int {
	n := uint64(0)
	for _, g := range s.segments {
		if from := max(g.base, s.acked+1); g.end > from {
			n += g.end - from
		}
	}
	return int(n)
}

// Bytes is how much of the disk the spool takes.
func (s *Spool) Bytes() int64 {
	n := int64(0)
	for _, g := range s.segments {
		n += g.size
	}
	return n
}

// Waiting is how many bytes items take that are still to be delivered, or a little more.
func (s *Spool) Waiting() int64 {
	n := s.Bytes() - int64(len(s.segments)*segmentHeader)
	if len(s.segments) > 0 && s.at.offset > 0 && s.at.seq > s.segments[0].base && s.at.seq <= s.segments[0].end {
		n -= s.at.offset - int64(segmentHeader)
	}
	return n
}

// Next is the lowest Seq that the next item may have.
func (s *Spool) Next() uint64 { return s.next }

// Lost is what could not be kept since the spool was opened.
func (s *Spool) Lost() Lost { return s.lost }

// Append writes items, whose Seqs are one above the other and above those before, and of which none is above MaxItem, behind
// those that wait.
// It returns how many of them are there. What the bound leaves no room for is dropped, the oldest first.
func (s *Spool) Append(items []Item) (written int, err error) {
	if len(items) > 0 && items[0].Seq > s.next { // those between went another way
		if err := s.leave(); err != nil {
			return 0, err
		}
		s.next = items[0].Seq
	}
	for written < len(items) {
		buf := s.frames[:0]
		n := 0
		for rest := items[written:]; n < len(rest) && (n == 0 || int64(len(buf)) < s.segment); n++ {
			if !rest[n].Fits() {
				return written, fmt.Errorf("spool: an item of %d bytes, at most %d", rest[n].Size(), MaxItem)
			}
			buf = appendFrame(buf, &rest[n])
		}
		err := s.write(buf, n)
		if s.frames = buf; cap(buf) > maxFrames {
			s.frames = nil
		}
		if err != nil {
			return written, err
		}
		written += n
	}
	s.bound()
	return written, s.settle(false)
}

// write appends n frames to the last segment, or to a new one when that is full.
func (s *Spool) write(frames []byte, n int) error {
	g := s.tail()
	if s.out == nil || g.size >= s.segment {
		var err error
		if g, err = s.roll(); err != nil {
			return err
		}
	}
	if _, err := s.out.WriteAt(frames, g.size); err != nil {
		err = errors.Join(err, s.out.Truncate(g.size))
		return fmt.Errorf("spool: %w", err)
	}
	g.size += int64(len(frames))
	g.end += uint64(n)
	s.next = g.end
	s.dirty = true
	return nil
}

func (s *Spool) tail() *segment {
	if len(s.segments) == 0 {
		return nil
	}
	return s.segments[len(s.segments)-1]
}

// roll begins a segment.
func (s *Spool) roll() (*segment, error) {
	if err := s.leave(); err != nil {
		return nil, err
	}
	g := &segment{path: filepath.Join(s.dir, fmt.Sprintf("%020d.seg", s.next)), base: s.next, end: s.next, size: int64(segmentHeader)}
	out, err := os.OpenFile(g.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if _, err = out.Write(appendHeader(nil, g.base)); err == nil {
		err = syncFolder(s.dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool: %w", err), out.Close(), os.Remove(g.path))
	}
	s.out, s.segments = out, append(s.segments, g)
	return g, nil
}

// leave closes the segment that is written to.
func (s *Spool) leave() error {
	if s.out == nil {
		return nil
	}
	err := s.sync()
	err = errors.Join(err, s.out.Close())
	s.out = nil
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

func (s *Spool) sync() error {
	if !s.dirty {
		return nil
	}
	s.dirty, s.synced = false, time.Now()
	return s.out.Sync()
}

// bound drops segments until the rest is within the bound. The last stays: it is what came last.
func (s *Spool) bound() {
	for len(s.segments) > 1 && s.Bytes() > s.size {
		g := s.segments[0]
		if from := max(g.base, s.acked+1); g.end > from {
			s.lost.Dropped += g.end - from
		}
		s.forget()
		s.acked = max(s.acked, g.end-1)
		if s.at.seq <= s.acked {
			s.at = place{seq: s.acked + 1}
		}
		s.ahead = s.at
	}
}

// forget deletes the oldest segment.
func (s *Spool) forget() {
	g := s.segments[0]
	if len(s.segments) == 1 && s.out != nil {
		_ = s.out.Close() // what is in it is delivered
		s.out, s.dirty = nil, false
	}
	s.in.close(g)
	_ = os.Remove(g.path) // one that stays is found delivered by its name and the cursor
	s.segments[0] = nil
	s.segments = s.segments[1:]
}

// settle brings to disk what has changed, once in a while or now.
func (s *Spool) settle(now bool) error {
	var errs []error
	if s.dirty && (now || time.Since(s.synced) >= saveEvery) {
		errs = append(errs, s.sync())
	}
	if s.saved != s.acked && (now || time.Since(s.last) >= saveEvery) {
		errs = append(errs, s.saveCursor())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// saveCursor writes how far everything is delivered: the number and its checksum.
func (s *Spool) saveCursor() error {
	b := binary.BigEndian.AppendUint64(nil, s.acked)
	b = binary.BigEndian.AppendUint32(b, checksum(nil, b))
	path := filepath.Join(s.dir, "cursor")
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	s.saved, s.last = s.acked, time.Now()
	return os.Rename(path+".new", path)
}

// Close writes down how far everything is delivered and lets go of the folder. What waits stays in it.
func (s *Spool) Close() error {
	err := s.settle(true)
	return errors.Join(err, s.leave(), s.in.closeFile(), s.lock.Close())
}
