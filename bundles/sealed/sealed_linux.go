package sealed

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// Numbers of the kernel's interface (linux/memfd.h, linux/fcntl.h), which package syscall no longer follows.
const (
	memfdCloseOnExec  = 0x1
	memfdAllowSealing = 0x2
	memfdExec         = 0x10 // since 6.3; older kernels do not know it and need not
	addSeals          = 1033
	getSeals          = 1034
	allSeals          = 0x1 | 0x2 | 0x4 | 0x8 // seal, shrink, grow, write
)

// memfdCall is the number of memfd_create, 0 where it is not known.
func memfdCall() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 319
	case "arm64", "riscv64", "loong64":
		return 279
	case "386":
		return 356
	case "arm":
		return 385
	case "ppc64le", "ppc64":
		return 360
	case "s390x":
		return 350
	}
	return 0
}

func create(name string) (*os.File, error) {
	call := memfdCall()
	if call == 0 {
		return nil, errors.ErrUnsupported
	}
	text, err := syscall.BytePtrFromString(name[:min(len(name), 200)])
	if err != nil {
		return nil, err
	}
	flags := uintptr(memfdCloseOnExec | memfdAllowSealing)
	fd, _, errno := syscall.Syscall(call, uintptr(unsafe.Pointer(text)), flags|memfdExec, 0)
	if errno == syscall.EINVAL {
		fd, _, errno = syscall.Syscall(call, uintptr(unsafe.Pointer(text)), flags, 0)
	}
	if errno == syscall.ENOSYS {
		return nil, errors.ErrUnsupported
	}
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(fd, name), nil
}

func seal(file *os.File) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, file.Fd(), addSeals, allSeals); errno != 0 {
		return errno
	}
	got, _, errno := syscall.Syscall(syscall.SYS_FCNTL, file.Fd(), getSeals, 0)
	if errno != 0 {
		return errno
	}
	if got&allSeals != allSeals {
		return errors.New("the kernel did not seal it")
	}
	return nil
}
