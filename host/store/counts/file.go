package counts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Options of a file. The zero value is useful.
type Options struct {
	// Now is the clock that counts end by; time.Now by default.
	Now func() time.Time
	// Wrote is told after each attempt to write what became of it: nil, or why it failed. It must be quick.
	Wrote func(error)
	// Slack is how many bytes the file may grow, beside twice what it holds, before it is written anew; 4 MiB by default.
	Slack int64
}

// File holds counts. It is safe for concurrent use. Close it.
type File struct {
	path    string
	options Options
	closed  atomic.Bool
	shards  [shardCount]shard

	writing chan struct{} // room for one: whoever writes
	file    *os.File
	size    int64 // of what is on disk and good
	base    int64 // the same, when it was last written anew
	// doubtful: after a failed write or sync nobody knows what the file holds behind size, or has of it on disk. It is
	// written anew before anything else is.
	doubtful bool
	buffer   []byte
}

const shardCount = 64

type shard struct {
	mu     sync.Mutex
	counts map[id]Count
}

// Open reads a file, or makes a new one. Whoever opens it sees to it that nobody else does. A damaged file is
// store.ErrCorrupt.
func Open(path string, options Options) (*File, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Wrote == nil {
		options.Wrote = func(error) {}
	}
	if options.Slack <= 0 {
		options.Slack = 4 << 20
	}
	f := &File{path: path, options: options, writing: make(chan struct{}, 1)}
	for i := range f.shards {
		f.shards[i].counts = map[id]Count{}
	}
	var err error
	f.file, err = os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := f.rewrite(); err != nil {
			return nil, errors.Join(err, f.letGo())
		}
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w: let the user that runs the gateway read and write it", err)
	}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, f.letGo())
	}
	return f, nil
}

// load reads the whole file, and cuts off what was being written when its process ended.
func (f *File) load() error {
	info, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	in, left := bufio.NewReaderSize(f.file, 1<<20), info.Size()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != magic {
		return store.Damaged(f.path, errors.New("it is no file of counts"))
	}
	left -= int64(len(magic))
	var block []byte
	for {
		block, err = readBlock(in, left, block)
		if err != nil {
			break
		}
		left -= int64(blockHead + len(block))
		if err := f.replay(block); err != nil {
			return store.Damaged(f.path, err)
		}
	}
	f.size = info.Size() - left
	f.base = f.held()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, errTorn):
		if err = f.file.Truncate(f.size); err == nil {
			err = f.file.Sync()
		}
		if err != nil {
			return store.Unwritten(f.path, err)
		}
		return nil
	case errors.Is(err, errInside):
		return store.Damaged(f.path, err)
	}
	return fmt.Errorf("store: %s: %w", f.path, err)
}

func (f *File) replay(block []byte) error {
	for len(block) > 0 {
		of, c, rest, err := parseCount(block)
		if err != nil {
			return err
		}
		f.set(of, c)
		block = rest
	}
	return nil
}

// held is about how large the file would be if it was written anew.
func (f *File) held() int64 {
	const usual = 32 // bytes
	size := int64(len(magic))
	for i := range f.shards {
		size += usual * int64(len(f.shards[i].counts))
	}
	return size
}

func (f *File) shard(owner uint64) *shard { return &f.shards[owner%shardCount] }

func (f *File) set(of id, c Count) {
	s := f.shard(of.owner)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Used <= 0 {
		delete(s.counts, of)
	} else {
		s.counts[of] = c
	}
}

// Get returns a count, the zero Count when there is none or its end has come. store.ErrClosed is its only error.
func (f *File) Get(_ context.Context, n Name) (Count, error) {
	if f.closed.Load() {
		return Count{}, store.ErrClosed
	}
	of := identify(n)
	s := f.shard(of.owner)
	s.mu.Lock()
	c := s.counts[of]
	s.mu.Unlock()
	if c.ended(f.options.Now()) {
		return Count{}, nil
	}
	return c, nil
}

// Save makes changes, in their order, and returns when they are on disk. After an error some of them may have been made:
// making all of them again does no harm. No changes find out whether the file can be written again. The context bounds how
// long it waits for others, not for the disk.
func (f *File) Save(ctx context.Context, changes ...Change) error {
	return f.write(ctx, func() error {
		for len(changes) > 0 {
			n := min(len(changes), maxBlock/maxCount)
			ids := make([]id, n)
			f.buffer = beginBlock(f.buffer)
			for i, c := range changes[:n] {
				ids[i] = identify(c.Name)
				f.buffer = appendCount(f.buffer, ids[i], c.Count)
			}
			if err := f.appendBlock(); err != nil {
				return err
			}
			for i, c := range changes[:n] {
				f.set(ids[i], c.Count)
			}
			changes = changes[n:]
		}
		return nil
	})
}

// Forget removes all counts of an owner. It returns when that is on disk; it promises of errors what Save does.
func (f *File) Forget(ctx context.Context, of string) error {
	return f.write(ctx, func() error {
		first := digest(of)
		s := f.shard(first)
		var gone []id
		s.mu.Lock()
		for i := range s.counts {
			if i.owner == first {
				gone = append(gone, i)
			}
		}
		s.mu.Unlock()
		for len(gone) > 0 {
			n := min(len(gone), maxBlock/maxCount)
			f.buffer = beginBlock(f.buffer)
			for _, i := range gone[:n] {
				f.buffer = appendCount(f.buffer, i, Count{})
			}
			if err := f.appendBlock(); err != nil {
				return err
			}
			for _, i := range gone[:n] {
				f.set(i, Count{})
			}
			gone = gone[n:]
		}
		return nil
	})
}

// write has one writer at a time write. Whether the file can be made smaller afterwards concerns nobody who waits: what he
// wrote is on disk.
func (f *File) write(ctx context.Context, changes func() error) error {
	select {
	case f.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("store: write counts: %w: the disk is behind: %w", store.ErrUnavailable, ctx.Err())
	}
	defer func() { <-f.writing }()
	if f.closed.Load() {
		return store.ErrClosed
	}
	var err error
	if f.doubtful {
		err = f.rewrite()
	}
	if err == nil {
		err = changes()
	}
	if err == nil && f.size > 2*f.base+f.options.Slack && f.rewrite() != nil {
		f.base = f.size // it is tried again when the file has doubled again
	}
	f.options.Wrote(err)
	return err
}

// appendBlock writes the buffer's block behind the others.
func (f *File) appendBlock() error {
	block := endBlock(f.buffer)
	_, err := f.file.WriteAt(block, f.size)
	if err == nil {
		err = persist(f.file)
	}
	if err != nil {
		f.doubtful = true
		return store.Unwritten(f.path, err)
	}
	f.size += int64(len(block))
	return nil
}

// rewrite makes a new file of what is in memory and puts it in the old one's place.
func (f *File) rewrite() error {
	file, size, err := f.snapshot(f.path + ".new")
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), f.path); err != nil {
		return errors.Join(store.Unwritten(f.path, err), file.Close(), os.Remove(file.Name()))
	}
	old := f.file
	f.file, f.size, f.base, f.doubtful = file, size, size, false
	if old != nil {
		_ = old.Close() // nothing in it matters any more
	}
	if err := syncFolder(filepath.Dir(f.path)); err != nil {
		f.doubtful = true // the old file could come back
		return store.Unwritten(f.path, err)
	}
	return nil
}

// snapshot writes all counts that have not ended, and forgets the others.
func (f *File) snapshot(path string) (file *os.File, size int64, err error) {
	file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, 0, store.Unwritten(path, err)
	}
	out := bufio.NewWriterSize(file, 1<<20)
	size = int64(len(magic))
	_, _ = out.WriteString(magic) // a Writer keeps its first error
	now, block := f.options.Now(), beginBlock(nil)
	flush := func() {
		if len(block) > blockHead {
			n, _ := out.Write(endBlock(block))
			size += int64(n)
			block = beginBlock(block)
		}
	}
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		for of, c := range s.counts {
			if c.ended(now) {
				delete(s.counts, of)
				continue
			}
			if block = appendCount(block, of, c); len(block) > blockHead+maxBlock-maxCount {
				flush()
			}
		}
		s.mu.Unlock()
	}
	flush()
	if err = out.Flush(); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, 0, errors.Join(store.Unwritten(path, err), file.Close(), os.Remove(path))
	}
	return file, size, nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Close waits for who writes, and lets go of the file. Later calls return store.ErrClosed; a second Close does nothing.
func (f *File) Close() error {
	f.writing <- struct{}{}
	defer func() { <-f.writing }()
	if f.closed.Swap(true) {
		return nil
	}
	return f.letGo()
}

func (f *File) letGo() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}
