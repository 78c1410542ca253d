//go:build linux

package proc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCPU(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 5*time.Millisecond; { // burn some
	}
	after, err := CPU(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("CPU time went from %v to %v, %v", before, after, err)
	}
	if _, err := CPU(1 << 28); err == nil {
		t.Error("no error for a process that is not there")
	}
}

func TestMemory(t *testing.T) {
	if got, err := MemoryOf(os.Getpid()); err != nil || got.RSS < 1<<20 || got.Mapped <= 0 || got.Mapped > got.RSS {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := MemoryOf(1 << 28); err == nil {
		t.Error("no error for a process that is not there")
	}
}

func TestLoad(t *testing.T) {
	if got, err := Load(); err != nil || got < 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	asked := 0
	p, err := Start(t.Context(), Spec{
		Name: "sleeper", Args: []string{"sh", "-c", "echo hello; exec sleep 60"}, Log: log,
		Ready: func(context.Context) error {
			if asked++; asked < 3 {
				return errors.New("not yet")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
	if p.Started <= 0 || asked != 3 {
		t.Errorf("ready after %v and %d questions", p.Started, asked)
	}
	p.Stop()
	if err := p.Alive(); err == nil {
		t.Error("still alive after Stop")
	}
}

// A process that ends instead of getting ready is an error that says its last words.
func TestStartFails(t *testing.T) {
	never := func(context.Context) error { return errors.New("no") }
	_, err := Start(t.Context(), Spec{
		Name: "failing", Args: []string{"sh", "-c", "echo no port left >&2; exit 3"}, Log: filepath.Join(t.TempDir(), "log"), Ready: never,
	})
	if err == nil || !strings.Contains(err.Error(), "no port left") || !strings.Contains(err.Error(), "failing") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Spec{Name: "slow", Args: []string{"sleep", "60"}, Ready: never}); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("got %v", err)
	}
	if _, err := Start(t.Context(), Spec{Name: "missing", Args: []string{"/no/such/program"}}); err == nil {
		t.Error("no error for a program that is not there")
	}
}

func TestTrimLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p := &Process{log: log}
	for size, want := range map[int64]int64{16<<20 - 1: 16<<20 - 1, 16 << 20: 0} {
		if err := os.WriteFile(log, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(log, size); err != nil {
			t.Fatal(err)
		}
		if err := p.TrimLog(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(log); err != nil || info.Size() != want {
			t.Errorf("a log of %d bytes has %d now, %v", size, info.Size(), err)
		}
	}
}
