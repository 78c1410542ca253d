package python

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// install is what to do about interpreters that lack something.
const install = "install what is missing with python3 -m pip install 'grpcio>=1.51' 'protobuf>=3.20' " +
	"(Debian: apt install python3-grpcio python3-protobuf), or name an interpreter that has it with --python"

// probeTime bounds the question to one interpreter: the first import of gRPC on a busy machine takes seconds.
const probeTime = 10 * time.Second

// Interpreter is a CPython that can run the shim.
type Interpreter struct {
	Path     string // of the program, absolute: behind pyenv's shims and the like
	Version  string
	GRPC     string // versions of the libraries
	Protobuf string
}

// String is the interpreter as messages name it.
func (i *Interpreter) String() string { return fmt.Sprintf("%s (Python %s)", i.Path, i.Version) }

// ErrNoInterpreter is the cause when none of the interpreters can run the shim.
var ErrNoInterpreter = errors.New("no Python interpreter can be used")

// Find returns the interpreter of that name or path; for "" the first of PATH's python3 and /usr/bin/python3 that has what
// the shim needs. The error names each that was tried, what it lacks, and what to do.
func (s *Shim) Find(ctx context.Context, name string) (*Interpreter, error) {
	return s.find(ctx, candidates(name)...)
}

// candidates are what Find tries.
func candidates(name string) []string {
	if name != "" {
		return []string{name}
	}
	return []string{"python3", "/usr/bin/python3"}
}

// Look reports whether there is a program that [Shim.Find] would ask, and starts none: one that is there may lack something all
// the same. The error is [ErrNoInterpreter] and names each that is not there.
func Look(name string) error { return look(candidates(name)) }

func look(candidates []string) error {
	var why []string
	for _, name := range candidates {
		_, err := exec.LookPath(name)
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("%s: %s", name, plain(err)))
	}
	return fmt.Errorf("%w: %s", ErrNoInterpreter, strings.Join(why, "; "))
}

func (s *Shim) find(ctx context.Context, candidates ...string) (*Interpreter, error) {
	var tried, why []string
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %s", name, plain(err)))
			continue
		}
		if slices.Contains(tried, path) {
			continue
		}
		tried = append(tried, path)
		i, err := s.probe(ctx, path)
		if err == nil {
			return i, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("looking for a Python interpreter: %w", ctx.Err())
		}
		why = append(why, err.Error())
	}
	return nil, fmt.Errorf("%w: %s: %s", ErrNoInterpreter, strings.Join(why, "; "), install)
}

// plain leaves out what the message says anyway.
func plain(err error) string {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return "not found"
	}
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

// probe asks one interpreter whether it will do.
func (s *Shim) probe(ctx context.Context, path string) (*Interpreter, error) {
	asking, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(asking, path, "-m", "turnbuckle", "probe")
	cmd.Env = append(environment(os.LookupEnv), s.Env()...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if asking.Err() != nil {
		return nil, fmt.Errorf("%s does not answer within %v", path, probeTime)
	}
	var answer struct {
		OK                 bool
		Python, Executable string
		GRPC, Protobuf     string
		Problems           []string
	}
	if bad := json.Unmarshal(stdout.Bytes(), &answer); bad != nil {
		if err == nil {
			err = fmt.Errorf("it is no Python 3: it answers %.80q", stdout.String())
		}
		return nil, fmt.Errorf("%s: %w%s", path, err, lastLine(stderr.String()))
	}
	i := &Interpreter{Path: answer.Executable, Version: answer.Python, GRPC: answer.GRPC, Protobuf: answer.Protobuf}
	if i.Path == "" {
		i.Path = path
	}
	if !answer.OK {
		return nil, fmt.Errorf("%s: %s", i, strings.Join(answer.Problems, ", "))
	}
	return i, err
}

// environment is what an interpreter gets of the gateway's: as much as a plugin server does, so that it finds the same.
func environment(lookup func(string) (string, bool)) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"} {
		if value, ok := lookup(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lastLine is the end of what a program complained of, where there is any.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	return ": " + text[strings.LastIndexByte(text, '\n')+1:]
}
