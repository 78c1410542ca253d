// Package sealed makes files of memory that cannot be changed once they are written (memfd_create(2), fcntl(2)
// F_ADD_SEALS). What was hashed while it was written is what is executed, whoever can write to the disk.
package sealed

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// New returns a file with what write writes, sealed against writing, growing, shrinking, and further seals. An error of
// write is returned, and nothing is left behind. The name shows in /proc only.
func New(name string, write func(io.Writer) error) (*os.File, error) {
	file, err := create(name)
	if err != nil {
		return nil, fmt.Errorf("sealed memory for %s: %w", name, err)
	}
	if err := write(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := seal(file); err != nil {
		return nil, fmt.Errorf("seal the memory of %s: %w", name, errors.Join(err, file.Close()))
	}
	return file, nil
}
