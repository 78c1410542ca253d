package processtest

import (
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestMain lets the test binary be the programs that it runs.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "as:") {
		os.Exit(play(strings.TrimPrefix(os.Args[1], "as:")))
	}
	os.Exit(m.Run())
}

// play is a program that does as it is told, and ends with status 0 on SIGTERM unless that is what it is not to do.
func play(role string) int {
	told := make(chan os.Signal, 1)
	if role != "deaf" {
		signal.Notify(told, syscall.SIGTERM)
	}
	fmt.Println("role", role)
	fmt.Fprintln(os.Stderr, "environment", os.Getenv("TOLD"))
	switch role {
	case "fails":
		return 3
	case "crashes":
		fmt.Fprintln(os.Stderr, "panic: of one that goes on")
	case "hook":
		fmt.Fprintln(os.Stderr, `level=ERROR msg="hook panicked" hook=x`)
	}
	<-told
	return 0
}

func spawn(t *testing.T, role string) *Process {
	t.Helper()
	p, err := Spawn(role, t.TempDir(), Environment("TOLD=yes"), os.Args[0], "as:"+role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if m, err := p.Await(`^role (\w+)$`); err != nil || m[1] != role {
		t.Fatalf("got %q, %v", m, err)
	}
	if _, err := p.Await(`^environment yes$`); err != nil {
		t.Fatal(err)
	}
	return p
}

// Each way in which a program ends.
func TestEnds(t *testing.T) {
	tests := []struct {
		role, want string // part of the error; empty: none
		signaled   bool
	}{
		{"fine", "", false},
		{"fails", "exit status 3", false},
		{"crashes", "panic: of one that goes on", false},
		{"hook", "", false},
		{"deaf", "signal: terminated", true},
	}
	for _, test := range tests {
		t.Run(test.role, func(t *testing.T) {
			t.Parallel()
			p := spawn(t, test.role)
			if test.role == "crashes" || test.role == "hook" {
				if _, err := p.Await("panic"); err != nil {
					t.Fatal(err)
				}
			}
			err := p.Stop()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if Signaled(err) != test.signaled {
				t.Errorf("got signaled %v", !test.signaled)
			}
		})
	}
}

func TestAwaitAfterTheEnd(t *testing.T) {
	p := spawn(t, "fails")
	if _, err := p.Await("^never$"); err == nil || !strings.Contains(err.Error(), `fails ended (exit status 3) without writing "^never$"`) {
		t.Errorf("got %v", err)
	}
	if _, err := p.Await("^role fails$"); err != nil {
		t.Errorf("what it wrote before its end: %v", err)
	}
	if _, err := p.Await("("); err == nil {
		t.Error("a pattern that is none was awaited")
	}
	if text, ok := p.Wrote(regexp.MustCompile(`r\w+ f`)); !ok || text != "role f" {
		t.Errorf("got %q, %v", text, ok)
	}
	if _, ok := p.Wrote(regexp.MustCompile("never")); ok {
		t.Error("it has written what it has not")
	}
}

func TestKill(t *testing.T) {
	p := spawn(t, "fine")
	p.Kill()
	if err := p.Wait(); !Signaled(err) {
		t.Errorf("got %v, want an end by a signal", err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("to one that has ended: %v", err)
	}
	if _, err := Spawn("nobody", t.TempDir(), nil, "/nowhere/at/all"); err == nil || !strings.Contains(err.Error(), "nobody: ") {
		t.Errorf("got %v", err)
	}
}

func TestPoll(t *testing.T) {
	var asked atomic.Int32
	if !Poll(func() bool { return asked.Add(1) == 3 }) || asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
}
