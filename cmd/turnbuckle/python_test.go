package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/turnbuckle-gateway/turnbuckle/internal/pythontest"
)

// pythons finds interpreters for scripts.
type pythons struct {
	t     *testing.T
	mu    sync.Mutex
	found map[string]string // by version; "" is any
}

// path is that of an interpreter with grpc of a version; "" when there is none.
func (p *pythons) path(version string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	path, ok := p.found[version]
	if ok {
		return path
	}
	if version == "" {
		path = pythontest.Find(p.t)
	} else {
		path = pythontest.Version(p.t, version)
	}
	if p.found == nil {
		p.found = map[string]string{}
	}
	p.found[version] = path
	return path
}

// condition is [python], or [python:3.13].
func (p *pythons) condition(condition string) (bool, error) {
	name, version, _ := strings.Cut(condition, ":")
	if name != "python" {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	return p.path(version) != "", nil
}

// command: python [VERSION] has gateways of the script use that interpreter.
func (p *pythons) command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: python [VERSION]")
	}
	ts.Setenv("TURNBUCKLE_PYTHON_INTERPRETER", p.path(strings.Join(args, "")))
}
