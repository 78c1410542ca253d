package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Damaged is the error of a file that does not hold what it should. Stores in files use it.
func Damaged(path string, err error) error {
	return fmt.Errorf("store: %s: %w: %w: put a copy of it in its place, or move it away to begin with an empty store", path, ErrCorrupt, err)
}

// Unwritten is the error of a file that could not be written: ErrUnavailable, and ErrFull when its disk is full. Stores in
// files use it.
func Unwritten(path string, err error) error {
	if full(err) {
		return fmt.Errorf("store: %s: %w: %w: %w: make room on its disk; writing goes on by itself then", path, ErrUnavailable, ErrFull, err)
	}
	return fmt.Errorf("store: %s: %w: %w", path, ErrUnavailable, err)
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
