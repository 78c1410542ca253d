package main

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// patience bounds every wait for something that has been caused and must come.
const patience = processtest.Patience

// process is one of our programs, running.
type process struct {
	*processtest.Process
	address string // where it listens, once it has said so
	admin   string // where its control listener is
	told    bool   // to end: a second signal would end it at once
}

// listening is how each program tells where it listens.
var (
	listening        = regexp.MustCompile(`(?m)(?:^listening on |msg="listening on |^time=\S+ level=\w+ msg=serving .*\baddress=|"msg":"serving","address":|"event":"serving","gateway":"http://)"?([^\s"]+)`)
	controlListening = regexp.MustCompile(`(?m)msg"?[=:]"control listener",?[ "]*address[=":]*([^\s"]+)`)
)

// spawn starts a program.
func spawn(dir string, env []string, name string, args ...string) (*process, error) {
	p, err := processtest.Spawn(name, dir, env, args...)
	if err != nil {
		return nil, err
	}
	return &process{Process: p}, nil
}

// launch starts a program and waits until it says where it listens, or ends.
func launch(dir string, env []string, name string, args ...string) (*process, error) {
	p, err := spawn(dir, env, name, args...)
	if err != nil {
		return nil, err
	}
	m, err := p.Await(listening.String())
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("it does not listen: %w", err)
	}
	p.address = m[1]
	if m := controlListening.FindStringSubmatch(p.Stderr.String()); m != nil {
		p.admin = m[1]
	}
	return p, nil
}

// stop asks the process to end, unless it has been told to, and waits for it. It reports an exit other than with 0, and
// anything that looks like a crash in what the process wrote.
func (p *process) stop() error {
	if p.told {
		return p.Wait()
	}
	return p.Stop()
}

// environment is what programs get in Go tests: no setting of whoever runs the tests.
func environment(more ...string) []string {
	return processtest.Environment(append([]string{"TURNBUCKLE_DRAIN_TIMEOUT=5s"}, more...)...)
}

// start launches a program for a test and ends it with the test.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p, err := launch(dir, env, args[0], args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s%s", args[0], p.Stdout, p.Stderr)
		}
	})
	return p
}

// until polls what another process brings about and does not tell.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if !processtest.Poll(condition) {
		t.Fatalf("%s did not happen", what)
	}
}
