package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

// FileName is the store's file in the data folder, CountsName that of counts.
const (
	FileName   = "turnbuckle.db"
	CountsName = "turnbuckle.counts"
)

// The buckets of the file, and its format. A change that older programs would misread gets a new number. Format 1 had
// counts among the entries.
const (
	entriesBucket = "entries"
	formatBucket  = "turnbuckle"
	formatKey     = "format"
	format        = "2"
	olderFormat   = "1"
)

// Options of a store. The zero value is useful.
type Options struct {
	// LockWait is how long Open waits for another process to let go of the file; 1 s by default.
	LockWait time.Duration
	// MapSize is how many bytes of address space the file gets, 16 GiB by default on 64-bit machines. It costs no memory.
	// A file that outgrows it goes on working, with reads that take a lock.
	MapSize int
	// Now is the clock that entries end by; time.Now by default.
	Now func() time.Time
	// SweepEvery is the time between two sweeps, 1 s by default, and SweepSteps how many entries one looks at, 2000.
	SweepEvery time.Duration
	SweepSteps int
}

func (o Options) withDefaults() Options {
	if o.LockWait <= 0 {
		o.LockWait = time.Second
	}
	if o.MapSize <= 0 {
		o.MapSize = int(min(16<<30, uint64(^uint(0)>>2)))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = time.Second
	}
	if o.SweepSteps <= 0 {
		o.SweepSteps = 2000
	}
	return o
}

// Store is a store.Store in a file.
type Store struct {
	*store.Signal
	feed    store.Feed
	options Options
	path    string
	db      *bbolt.DB
	holder  *holder
	readers *readers
	counts  *counts.File

	health                sync.Mutex
	entriesErr, countsErr error // why the last write of each failed

	queue  chan *job
	broken atomic.Pointer[error] // why nothing is written any more
	ctx    context.Context       // of the background work; ends when Close begins
	stop   context.CancelFunc
	work   sync.WaitGroup // sweeper, which writes
	commit sync.WaitGroup // the committer, which ends last
	once   sync.Once
	closed chan struct{} // nobody queues any more
	mu     sync.RWMutex  // held for reading while queueing, so that closed closes behind the last one
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the data folder, which it creates, or makes a new one. A file that another process holds is
// ErrLocked with that process's id, one that is no store of ours or damaged ErrCorrupt. Of the context only the values
// are kept; the store works until Close.
func Open(ctx context.Context, folder string, options Options) (*Store, error) {
	options = options.withDefaults()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("store: create the data folder: %w", err)
	}
	path := filepath.Join(folder, FileName)
	db, mapped, err := open(path, options)
	if err != nil {
		return nil, err
	}
	held, err := hold(path, options.Now())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s := &Store{
		Signal: store.NewSignal(nil, options.Now()), options: options, path: path, db: db, holder: held,
		readers: newReaders(db, mapped),
		queue:   make(chan *job, maxBatch), closed: make(chan struct{}),
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.counts, err = counts.Open(filepath.Join(folder, CountsName), counts.Options{
		Now: options.Now, Wrote: func(err error) { s.mark(&s.countsErr, err) },
	})
	if err != nil {
		s.stop()
		return nil, errors.Join(err, held.release(), db.Close())
	}
	s.commit.Go(s.committer)
	s.work.Go(s.sweeper)
	return s, nil
}

// open opens and checks the file, and says how much of it is mapped whatever its size. bbolt trusts its file, so what a damaged one makes it do is caught here.
func open(path string, options Options) (db *bbolt.DB, mapped int64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			// What bbolt held is lost with it, the lock of the file included: the process is expected to give up.
			db, err = nil, store.Damaged(path, fmt.Errorf("%v", fault))
		}
	}()
	settings := &bbolt.Options{
		Timeout: options.LockWait, InitialMmapSize: options.MapSize, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	}
	db, err = bbolt.Open(path, 0o600, settings)
	if err != nil && errors.Is(err, errNoMemory) {
		settings.InitialMmapSize = 0 // a limit on address space; readers will see that the map is tight
		db, err = bbolt.Open(path, 0o600, settings)
	}
	if err != nil {
		return nil, 0, openError(path, err)
	}
	if err := prepare(db, path); err != nil {
		return nil, 0, errors.Join(err, db.Close())
	}
	return db, int64(settings.InitialMmapSize), nil
}

// prepare makes the buckets of a new file, and refuses one that is not ours.
func prepare(db *bbolt.DB, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var found string
	var size int64
	var fresh bool
	err = db.View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		if size > info.Size() {
			return nil
		}
		if b := tx.Bucket([]byte(formatBucket)); b != nil {
			found = string(b.Get([]byte(formatKey)))
		}
		first, _ := tx.Cursor().First()
		fresh = first == nil
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("store: read %s: %w", path, err)
	case size > info.Size():
		return store.Damaged(path, fmt.Errorf("it has %d bytes of %d: it was cut off", info.Size(), size))
	case found == format:
		return nil
	case found == olderFormat:
		return renew(db, path)
	case found != "":
		return fmt.Errorf("store: %s has format %s, this program knows %s: use the newer program that wrote it", path, found, format)
	case !fresh:
		return store.Damaged(path, errors.New("it is a bbolt file, but not of Turnbuckle"))
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{entriesBucket, formatBucket} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(formatBucket)).Put([]byte(formatKey), []byte(format))
	})
	if err != nil {
		return store.Unwritten(path, err)
	}
	return nil
}

// renew makes the older format's file one of today's. What it has of counts stays among the entries for those who wrote it.
func renew(db *bbolt.DB, path string) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket([]byte("counters")); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
			return err
		}
		return tx.Bucket([]byte(formatBucket)).Put([]byte(formatKey), []byte(format))
	})
	if err != nil {
		return store.Unwritten(path, err)
	}
	return nil
}

// Watch is store.Watcher's.
func (s *Store) Watch(told func(store.Change)) (stop func()) { return s.feed.Watch(told) }

// Counts is how much was used of what, which is kept apart from entries. It ends with the store.
func (s *Store) Counts() *counts.File { return s.counts }

// mark notes how the last write of entries or counts ended. The store serves when neither failed.
func (s *Store) mark(part *error, err error) {
	s.health.Lock()
	defer s.health.Unlock()
	*part = err
	s.Set(errors.Join(s.entriesErr, s.countsErr), s.options.Now())
}

// Close waits for writes and reads under way, and lets go of the files. Later calls return store.ErrClosed; a second Close
// does nothing.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.stop()
		s.work.Wait()
		s.mu.Lock()
		close(s.closed)
		s.mu.Unlock()
		s.commit.Wait()
		s.readers.close()
		err = errors.Join(s.counts.Close(), s.holder.release(), s.db.Close())
	})
	return err
}
