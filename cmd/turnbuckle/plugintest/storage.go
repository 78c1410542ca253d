package plugintest

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// storage is the embedded store in a folder that is there for one run, opened when a script first uses it.
type storage struct {
	ctx context.Context

	mu  sync.Mutex
	dir string
	db  *bolt.Store
}

func (s *storage) open() (script.Storage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return s.db, nil
	}
	dir, err := os.MkdirTemp("", "turnbuckle-plugin-test-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	if s.db, err = bolt.Open(s.ctx, dir, bolt.Options{}); err != nil {
		return nil, err
	}
	return s.db, nil
}

// close removes it. Nothing uses it any more.
func (s *storage) close() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
