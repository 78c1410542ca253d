package store

import (
	"errors"
	"fmt"
)

// What callers branch on, with errors.Is. The text around them says what happened, where, and what to do.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("store unavailable")                       // away, or too slow; it may have taken effect
	ErrConflict    = errors.New("changed by others at the same time")      // Update, when others are always faster
	ErrCursor      = errors.New("cursor is not of this store or outdated") // List: begin again
	ErrNumber      = errors.New("not a number, or the sum does not fit")   // Add
	ErrFull        = errors.New("no room to write")                        // disk or memory; is ErrUnavailable too
	ErrCorrupt     = errors.New("store damaged")
	ErrLocked      = errors.New("store held by another process")
	ErrClosed      = errors.New("store closed")
	ErrEntry       = errors.New("not a possible entry") // key empty or too long, value too large
)

// CheckKey returns ErrEntry when the key is empty or longer than MaxKey.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("%w: a key has 1 to %d bytes, this one %d", ErrEntry, MaxKey, len(key))
	}
	return nil
}

// Check returns ErrEntry when the key or the value cannot be written.
func Check(key string, e Entry) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(e.Value) > MaxValue {
		return fmt.Errorf("%w: the value of %q has %d bytes, at most %d", ErrEntry, key, len(e.Value), MaxValue)
	}
	return nil
}
