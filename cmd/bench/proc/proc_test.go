//go:build linux

package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
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

// What a process started counts as its own.
func TestTreeCPU(t *testing.T) {
	child := exec.Command("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; read x")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	own, err := CPU(child.Process.Pid)
	if err != nil {
		t.Error(err)
	}
	all, err := TreeCPU(os.Getpid())
	if err != nil || all <= own {
		t.Errorf("all have used %v, %v; the child alone %v", all, err, own)
	}
	if before, err := CPU(os.Getpid()); err != nil || own <= 0 || all < before/2 {
		t.Errorf("this process has used %v, %v, the child %v", before, err, own)
	}
	if err := errors.Join(in.Close(), child.Wait()); err != nil {
		t.Log(err) // read found the end
	}
	if _, err := TreeCPU(1 << 28); err == nil {
		t.Error("a process that there is not has used time")
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
