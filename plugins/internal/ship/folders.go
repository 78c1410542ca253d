package ship

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/spool"
)

// Several may ship to one place: two gateways that have one folder for data, APIs whose settings differ in what they send. A
// spool is one shipper's, so the second takes a folder with a number behind its name, and what is in a folder that nobody
// has any more is taken over by whoever is there.
const (
	mostFolders  = 8                // of one place
	reopenEvery  = time.Second      // so often it is asked whether another has let go of the spool
	anotherAfter = 3 * time.Second  // who is on his way out, after a reload, has gone by then, most likely
	adoptEvery   = 10 * time.Second // so often it is looked for what was left
	tellEvery    = 10 * time.Second // so often the same trouble is logged
)

// folders is what a shipper knows of the folders of its place.
type folders struct {
	own    int       // the number of the one that it has
	failed time.Time // when opening one last failed; zero when that is over
	locked time.Time // since when another has the first
	looked time.Time // when it was last looked for what others left
}

// patience is when there is something to do about folders, or after in, if that is sooner; 0: never.
func (f *folders) patience(in time.Duration) time.Duration {
	var most time.Duration
	switch {
	case !f.failed.IsZero():
		most = reopenEvery
	case f.own > 0:
		most = adoptEvery // who has the first may be gone by then
	default:
		return in
	}
	if in == 0 {
		return most
	}
	return min(in, most)
}

// folder is the nth of the place.
func (s *Shipper) folder(n int) string {
	name := s.o.Name
	if s.o.Place != "" {
		name += "-" + s.o.Place
	}
	if n > 0 {
		name = fmt.Sprintf("%s-%d", name, n+1)
	}
	return filepath.Join(s.o.Host.Dir, name)
}

// openSpool opens the spool if there is to be one. Another instance of the plugin may have it still, on its way out: until it
// lets go, there is memory; if it stays, there is another folder. It is called by the goroutine that sends, while nothing is
// under way.
func (s *Shipper) openSpool() {
	size := int64(*s.o.Settings.Spool.Size)
	if size == 0 || s.o.Host.Dir == "" || s.disk != nil || !s.failed.IsZero() && time.Since(s.failed) < reopenEvery {
		return
	}
	var disk *spool.Spool
	err := spool.ErrLocked
	for n := 0; n < mostFolders && errors.Is(err, spool.ErrLocked); n++ {
		if n == 1 && s.locked.IsZero() {
			s.locked = time.Now()
		}
		if n == 1 && time.Since(s.locked) < anotherAfter {
			break
		}
		s.own = n
		disk, err = spool.Open(spool.Options{Dir: s.folder(n), Size: size})
	}
	if err != nil {
		if !errors.Is(err, spool.ErrLocked) || time.Since(s.locked) >= anotherAfter {
			s.trouble("the spool cannot be used yet: what does not fit into memory is dropped", err)
		}
		s.own, s.failed = 0, time.Now()
		return
	}
	s.failed, s.locked = time.Time{}, time.Time{}
	s.disk = disk
	s.noteLost(spool.Lost{})
	next := disk.Next()
	for i := range s.memory {
		s.memory[i].Seq = next + uint64(i)
	}
	s.seq = next + uint64(len(s.memory)) - 1
	if n := disk.Len(); n > 0 {
		s.log.Info("the spool has what an earlier run could not deliver", "items", n, "bytes", disk.Bytes())
	}
}

// adopt takes over what others have left in folders of the place, as far as there is room. It is called like openSpool.
func (s *Shipper) adopt() {
	if s.disk == nil || s.down || s.closed || !s.looked.IsZero() && time.Since(s.looked) < adoptEvery {
		return
	}
	s.looked = time.Now()
	for n := range mostFolders {
		dir := s.folder(n)
		if left, err := filepath.Glob(filepath.Join(dir, "*.seg")); n == s.own || err != nil || len(left) == 0 {
			continue
		}
		other, err := spool.Open(spool.Options{Dir: dir, Size: int64(*s.o.Settings.Spool.Size)})
		if errors.Is(err, spool.ErrLocked) {
			continue // it is somebody's
		}
		if err == nil {
			err = s.take(other)
		}
		if err != nil {
			s.trouble("what another instance left in its spool cannot be taken over yet", err)
		}
	}
}

// take moves what waits in another spool into this one's, and closes the other.
func (s *Shipper) take(other *spool.Spool) error {
	moved := 0
	err := s.move(other, &moved)
	if moved > 0 {
		s.log.Info("took over what another instance could not deliver", "items", moved)
	}
	lost := other.Lost()
	s.counts.dropped += lost.Dropped
	s.counts.corrupt += lost.Corrupt
	return errors.Join(err, other.Close())
}

func (s *Shipper) move(other *spool.Spool, moved *int) error {
	const items, bytes = 1000, 1 << 20 // at a time
	for {
		some, err := other.Read(items, bytes)
		if err != nil || len(some) == 0 {
			return err
		}
		last, size := some[len(some)-1].Seq, int64(0)
		for i := range some {
			size += int64(some[i].Size())
		}
		if s.spill(); len(s.memory) > 0 || s.disk.Bytes()+size > int64(*s.o.Settings.Spool.Size) {
			return nil // another time
		}
		for i := range some {
			s.seq++
			some[i].Seq = s.seq
		}
		if n, err := s.disk.Append(some); n < len(some) {
			return err // some may come twice
		}
		if err := other.Ack(last); err != nil {
			return err
		}
		*moved += len(some)
	}
}

// trouble logs what went wrong with the spool, the same now and then.
func (s *Shipper) trouble(what string, err error) {
	if told, ok := s.told[what]; ok && time.Since(told) < tellEvery {
		return
	}
	s.told[what] = time.Now()
	s.log.Warn(what, "error", err.Error())
}
