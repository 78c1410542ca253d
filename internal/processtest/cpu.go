package processtest

import (
	"syscall"
	"testing"
	"time"
)

// CPU is the time that this process has computed, which tells more of a benchmark than the clock where others use the machine too.
func CPU(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
