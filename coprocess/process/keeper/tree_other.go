//go:build unix && !linux

package keeper

import "syscall"

// prepare bounds the files; the rest is Linux's.
func prepare(l *Limits, _ bool) error {
	if l.Files <= 0 {
		return nil
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(l.Files), Max: uint64(l.Files)})
}

func confine(int, *Limits) error { return nil }

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func maxRSS(u *syscall.Rusage) int64 { return u.Maxrss }

func signalName(s syscall.Signal) string { return s.String() }

func usageOf(int) Usage { return Usage{} }

// killTree finds nobody: the program's group is all that is known.
func killTree(int) {}
