package bolt

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const errNoMemory = syscall.ENOMEM

func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return lockedError(path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch),
		strings.Contains(err.Error(), "file size too small"): // bbolt has no name for it
		return corrupt(path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("store: %w: let the user that runs the gateway read and write it", err)
	}
	return writeError(path, err)
}

func corrupt(path string, err error) error {
	return fmt.Errorf("store: %s: %w: %w: put a copy of it in its place, or move it away to begin with an empty store", path, store.ErrCorrupt, err)
}

// full lists what systems call a disk that takes no more. bbolt keeps some of them as text only.
func full(err error) bool {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, no) || strings.Contains(err.Error(), no.Error()) {
			return true
		}
	}
	return false
}

// writeError says what a failed commit means.
func writeError(path string, err error) error {
	if full(err) {
		return fmt.Errorf("store: %s: %w: %w: %w: make room on its disk; writing goes on by itself then", path, store.ErrUnavailable, store.ErrFull, err)
	}
	return fmt.Errorf("store: %s: %w: %w", path, store.ErrUnavailable, err)
}
