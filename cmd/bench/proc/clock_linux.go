package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the CPU time, user and system, that all threads of a process have used, the ended ones included. It
// is the kernel's clock in nanoseconds, where /proc/PID/stat counts ticks of 10 ms and /proc/PID/schedstat one thread.
func CPU(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &now); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(now.Nano()), nil
}

// TreeCPU is the CPU time of a process and all that descend from it and run.
func TreeCPU(pid int) (time.Duration, error) {
	sum, err := CPU(pid)
	if err != nil {
		return 0, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // each thread has its own
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended, and another one has its children
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", list, err)
			}
			used, err := TreeCPU(child)
			if err != nil {
				return 0, err
			}
			sum += used
		}
	}
	return sum, nil
}

// Memory is what a process has resident, in bytes. Mapped is the part of RSS that is pages of files, its program's among
// them: the kernel takes them back when it needs room.
type Memory struct{ RSS, Mapped int64 }

// MemoryOf returns the resident memory of a process.
func MemoryOf(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	figures := map[string]*int64{"VmRSS": &m.RSS, "RssFile": &m.Mapped}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		figure := figures[name]
		if figure == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return m, fmt.Errorf("process %d: odd %s: %w", pid, name, err)
		}
		*figure = kib << 10
		delete(figures, name)
	}
	if figures["VmRSS"] != nil {
		return m, fmt.Errorf("process %d: /proc has no VmRSS", pid)
	}
	return m, nil
}

// Load returns how many tasks wanted a CPU on average over the last minute.
func Load() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}

// endWithParent makes the kernel end the child when we are killed and cannot.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
