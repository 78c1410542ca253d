//go:build !linux

package proc

import (
	"errors"
	"syscall"
	"time"
)

var errLinux = errors.New("the cost of other processes can only be read on Linux")

// CPU needs Linux.
func CPU(int) (time.Duration, error) { return 0, errLinux }

// TreeCPU needs Linux.
func TreeCPU(int) (time.Duration, error) { return 0, errLinux }

// Memory needs Linux.
type Memory struct{ RSS, Mapped int64 }

// MemoryOf needs Linux.
func MemoryOf(int) (Memory, error) { return Memory{}, errLinux }

// Load needs Linux.
func Load() (float64, error) { return 0, errLinux }

func endWithParent() *syscall.SysProcAttr { return nil }
