package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// A StateFile is trust.json. The gateway and commands beside it share it: each change reads it anew under a lock,
// and replaces the file at once, so that a crash leaves the old one or the new one. It may be used by several
// goroutines at once.
type StateFile struct {
	path string
	mu   sync.Mutex
}

// OpenState opens the state at path. When there is no file it is begun; but if expected, since bundles were loaded
// here before, that is refused unless acceptNew says that what was seen may be forgotten.
func OpenState(path string, expected, acceptNew bool) (*StateFile, error) {
	f := &StateFile{path: path}
	err := f.locked(func() error {
		_, err := f.read()
		if errors.Is(err, fs.ErrNotExist) {
			if expected && !acceptNew {
				return refusal.New(refusal.StateMissing, "%s is gone, though bundles were loaded here before", path)
			}
			return f.write(State{Schema: 1, Names: map[string]Record{}})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// State returns what the file says now.
func (f *StateFile) State() (State, error) {
	s, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, refusal.New(refusal.StateMissing, "%s is gone", f.path)
	}
	return s, err
}

// Update changes the state: change gets what the file says, and what it leaves is written, unless it returns an error.
func (f *StateFile) Update(change func(*State) error) error {
	return f.locked(func() error {
		s, err := f.State()
		if err != nil {
			return err
		}
		if err := change(&s); err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		return f.write(s)
	})
}

// Accept judges candidates by the state and records them, all or none: of two gateways, or two loads, that accept at
// once none can undo the other.
func (f *StateFile) Accept(clock time.Time, candidates ...Candidate) error {
	return f.Update(func(s *State) error {
		now, _ := s.Now(clock)
		for _, c := range candidates {
			if _, err := s.Allows(c, now); err != nil {
				return err
			}
			s.accept(c, clock)
		}
		return nil
	})
}

// AcceptIndex records that an index is believed; an older one is refused from then on.
func (f *StateFile) AcceptIndex(x *Index, clock time.Time) error {
	return f.Update(func(s *State) error {
		s.see(clock)
		return s.Index.newer(refusal.IndexRollback, "index", x.Version, x.digest)
	})
}

// AcceptKeyRing records that a ring is believed; digest is that of its payload.
func (f *StateFile) AcceptKeyRing(r *KeyRing, digest string, clock time.Time) error {
	return f.Update(func(s *State) error {
		s.see(clock)
		return s.KeyRing.newer(refusal.KeyRingRollback, "key ring", r.Version, digest)
	})
}

// Rollback lets the release with this digest load although a newer one was seen, until a time. It replaces an
// override of the same name; those that have ended are dropped.
func (f *StateFile) Rollback(o Override, clock time.Time) error {
	if !clock.Before(o.Until.Time) || o.Reason == "" {
		return refusal.New(refusal.StateMalformed, "a rollback needs an end in the future and a reason")
	}
	return f.Update(func(s *State) error {
		kept := s.Overrides[:0]
		for _, old := range s.Overrides {
			if old.Name != o.Name && clock.Before(old.Until.Time) {
				kept = append(kept, old)
			}
		}
		s.Overrides = append(kept, o)
		return nil
	})
}

// Revoke adds to what this gateway's operator revoked.
func (f *StateFile) Revoke(r Revoked) error {
	return f.Update(func(s *State) error {
		s.Revoked.Keys = append(s.Revoked.Keys, r.Keys...)
		s.Revoked.Bundles = append(s.Revoked.Bundles, r.Bundles...)
		s.Revoked.Serials = append(s.Revoked.Serials, r.Serials...)
		return nil
	})
}

func (f *StateFile) read() (State, error) {
	info, err := os.Lstat(f.path)
	if err == nil && !info.Mode().IsRegular() {
		return State{}, refusal.New(refusal.StateMalformed, "%s is not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return State{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxDocument+1))
	if err != nil {
		return State{}, err
	}
	return ParseState(data)
}

// write replaces the file: a new one beside it, on disk, takes its name, and the name is on disk too.
func (f *StateFile) write(s State) error {
	data, err := strict.Encode(s)
	if err != nil {
		return err
	}
	// What cannot be read again would stop every bundle from loading.
	if _, err := ParseState(append(data, '\n')); err != nil {
		return fmt.Errorf("not written: %w", err)
	}
	dir := filepath.Dir(f.path)
	temporary, err := os.CreateTemp(dir, ".trust-*") // 0600
	if err != nil {
		return fmt.Errorf("write the trust state: %w", err)
	}
	_, err = temporary.Write(append(data, '\n'))
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write the trust state: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return syncFolder(dir)
}

// locked runs do while nobody else, in this process or another, changes the file.
func (f *StateFile) locked(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	lock, err := os.OpenFile(f.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the trust state: %w", err)
	}
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("lock the trust state: %w", errors.Join(err, lock.Close()))
	}
	// Closing gives the lock back.
	return errors.Join(do(), lock.Close())
}

// RevokeKey is the revocation of one key, of all it signed or of what was created after a time.
func RevokeKey(id string, createdAfter time.Time, reason string) Revoked {
	k := RevokedKey{ID: id, Reason: reason}
	if !createdAfter.IsZero() {
		k.CreatedAfter = manifest.At(createdAfter)
	}
	return Revoked{Keys: []RevokedKey{k}}
}
