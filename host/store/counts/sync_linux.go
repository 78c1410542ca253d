package counts

import (
	"os"
	"syscall"
)

// persist returns when what was written is on disk, and the file's length; times of access can wait.
func persist(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
