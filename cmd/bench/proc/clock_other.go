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

// RSS needs Linux.
func RSS(int) (int64, error) { return 0, errLinux }

// Load needs Linux.
func Load() (float64, error) { return 0, errLinux }

func endWithParent() *syscall.SysProcAttr { return nil }
