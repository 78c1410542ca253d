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
		return store.Damaged(path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("store: %w: let the user that runs the gateway read and write it", err)
	}
	return store.Unwritten(path, err)
}
