package bolt

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// A holder is the file beside the store's that says who has it. The lock itself is bbolt's, on the store's file; a
// holder left behind by a process that was killed misleads nobody, because it is only read when that lock is taken.
type holder struct{ path string }

func holderPath(path string) string { return path + ".pid" }

// hold notes this process as the holder. It is written aside and renamed, so that nobody reads half of it.
func hold(path string, now time.Time) (*holder, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	text := fmt.Sprintf("%d\n%s\n%s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	h := &holder{path: holderPath(path)}
	if err := os.WriteFile(h.path+".new", []byte(text), 0o600); err != nil {
		return nil, store.Unwritten(h.path, err)
	}
	if err := os.Rename(h.path+".new", h.path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return h, nil
}

func (h *holder) release() error {
	if err := os.Remove(h.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// lockedError names the holder of the file at path as well as it can be known.
func lockedError(path string) error {
	who := "another process"
	text, err := os.ReadFile(holderPath(path))
	if lines := strings.Split(string(text), "\n"); err == nil && len(lines) >= 3 {
		who = fmt.Sprintf("process %s (on %s, since %s)", lines[0], lines[1], lines[2])
	}
	return fmt.Errorf("store: %s: %w: %s: stop it, give this one a data folder of its own, or share a Redis", path, store.ErrLocked, who)
}
