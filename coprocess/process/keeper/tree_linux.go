package keeper

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeperFiles is how many files a keeper needs open, to find what descends from the program among all processes.
const keeperFiles = 64

// prepare makes the process a keeper. Most limits hold for it too, so that the program has them from its first
// instruction.
func prepare(l *Limits, ownUser bool) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	// A program that could become somebody else could not be ended any more.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	limits := []struct {
		what  int
		value int64 // negative: none
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, orNone(int64(l.Files), max(int64(l.Files), keeperFiles))},
		{unix.RLIMIT_NPROC, -1},
	}
	if ownUser {
		limits[2].value = orNone(int64(l.Processes), 64*int64(l.Processes)+256)
	}
	for _, limit := range limits {
		if limit.value < 0 {
			continue
		}
		var now syscall.Rlimit
		if err := syscall.Getrlimit(limit.what, &now); err != nil {
			return fmt.Errorf("limit %d: %w", limit.what, err)
		}
		most := min(uint64(limit.value), now.Max)
		if err := syscall.Setrlimit(limit.what, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d to %d: %w", limit.what, most, err)
		}
	}
	return nil
}

// confine bounds the program by what the keeper itself could not live with.
func confine(pid int, l *Limits) error {
	if l.Files > 0 && l.Files < keeperFiles {
		if err := bound(pid, unix.RLIMIT_NOFILE, uint64(l.Files)); err != nil {
			return fmt.Errorf("limit open files to %d: %w", l.Files, err)
		}
	}
	if l.Memory > 0 {
		if err := bound(pid, unix.RLIMIT_DATA, uint64(2*l.Memory+256<<20)); err != nil {
			return fmt.Errorf("limit memory to %d bytes: %w", l.Memory, err)
		}
	}
	return nil
}

// bound lowers a limit of a process.
func bound(pid, what int, most uint64) error {
	var now unix.Rlimit
	err := unix.Prlimit(pid, what, nil, &now)
	if err == nil {
		most = min(most, now.Max)
		err = unix.Prlimit(pid, what, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	if err == unix.ESRCH { // it has ended already
		return nil
	}
	return err
}

// orNone is value where the limit it comes from is set.
func orNone(limit, value int64) int64 {
	if limit <= 0 {
		return -1
	}
	return value
}

// attributes give the program a session of its own, out of reach of the host's terminal, and end it with the keeper
// should that be killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

func maxRSS(u *syscall.Rusage) int64 { return u.Maxrss << 10 }

func signalName(s syscall.Signal) string { return unix.SignalName(s) }

// usageOf adds up what the descendants of a process use. Memory is what they do not share with files.
func usageOf(root int) Usage {
	var u Usage
	queue := children(nil, root)
	for len(queue) > 0 {
		pid := queue[len(queue)-1]
		queue = children(queue[:len(queue)-1], pid)
		u.Processes++
		u.Memory += memoryOf(pid)
	}
	return u
}

func memoryOf(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 3 {
		return 0 // it has ended
	}
	resident, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, _ := strconv.ParseInt(string(fields[2]), 10, 64)
	return (resident - shared) * int64(os.Getpagesize())
}

// children appends the children of a process, of all its threads.
func children(to []int, pid int) []int {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	dir, err := os.Open(tasks)
	if err != nil {
		return to
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	for _, task := range names {
		text, _ := os.ReadFile(tasks + "/" + task + "/children")
		for _, field := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				to = append(to, child)
			}
		}
	}
	return to
}

// killTree sends SIGKILL to all descendants of a process. They are stopped first: a process that forks as fast as it is
// killed would else be gone each time, and its child there.
func killTree(root int) {
	const looks = 20
	stopped := map[int]bool{}
	for range looks {
		found := descendants(root)
		fresh := 0
		for _, pid := range found {
			if !stopped[pid] {
				stopped[pid] = true
				fresh++
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if fresh == 0 {
			break
		}
	}
	for pid := range stopped {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// descendants finds them among all processes: what the kernel lists as children is reliable only while they hold still.
// Zombies are among them, since that is what a process looks like whose first thread has ended before the others.
func descendants(root int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	byParent := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		text, _ := os.ReadFile("/proc/" + name + "/stat")
		_, after, found := bytes.Cut(text, []byte(") ")) // the name before it could hold the same
		for more := found; more; {
			var rest []byte
			if _, rest, more = bytes.Cut(after, []byte(") ")); more {
				after = rest
			}
		}
		fields := bytes.Fields(after)
		if len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			byParent[parent] = append(byParent[parent], pid)
		}
	}
	all := byParent[root]
	for i := 0; i < len(all); i++ {
		all = append(all, byParent[all[i]]...)
	}
	return all
}
