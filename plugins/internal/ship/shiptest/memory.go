package shiptest

import (
	"os"
	"regexp"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// Bounded fails the test if at any time until its end more than so many MiB of the heap are alive: what the collector has
// found in use, and not what awaits it, so that neither the race detector nor a busy machine changes the figure. It logs what
// it has found, and the most that the process had resident. What the test itself keeps counts too.
func Bounded(t *testing.T, most int) {
	t.Helper()
	done, highest := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		high := uint64(0)
		for {
			metrics.Read(sample)
			high = max(high, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-done:
				highest <- high
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		high := <-highest >> 20
		t.Logf("at most %d MiB of the heap were in use; resident at most %s", high, resident())
		if high > uint64(most) {
			t.Errorf("%d MiB of the heap were in use: more than %d", high, most)
		}
	})
}

// resident is the most memory that the process has had, as far as the system says.
func resident() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	if m := regexp.MustCompile(`VmHWM:\s*(\d+ kB)`).FindStringSubmatch(string(text)); m != nil {
		return strings.TrimSpace(m[1])
	}
	return "unknown"
}
