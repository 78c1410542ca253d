// Package foreign has the plugin servers of the measurement that are in other languages.
package foreign

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/python"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/node"
	pythonsdk "github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

//go:embed testdata
var files embed.FS

// The languages.
const (
	Python = "python"
	Node   = "node"
)

// Command returns the command of the plugin server in a language, but for --listen and its address; its hooks are
// SetHeader and, in Python, Sleep. dir is a folder for its files, shared one for those that servers have in common; workers
// are its processes, in Python.
func Command(ctx context.Context, language, dir, shared string, workers int) ([]string, error) {
	if language == Node {
		return nodeCommand(ctx, dir, shared)
	}
	modules, err := pythonsdk.Modules()
	if err != nil {
		return nil, err
	}
	shim, err := python.Unpack(modules, filepath.Join(shared, "python"))
	if err != nil {
		return nil, err
	}
	interpreter, err := shim.Find(ctx, "")
	if err != nil {
		return nil, err
	}
	file, err := write(dir, "hooks.py")
	args := append([]string{"env"}, shim.Env()...)
	return append(args, interpreter.Path, "-m", "turnbuckle", "serve", file, "--workers", strconv.Itoa(workers)), err
}

func nodeCommand(ctx context.Context, dir, shared string) ([]string, error) {
	program, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	modules, err := nodeModules(ctx, shared)
	if err != nil {
		return nil, err
	}
	file, err := write(dir, "node.cjs")
	return []string{"env", "NODE_PATH=" + modules, program, file}, err
}

// nodeModules installs our package for Node into the user's cache, with what it needs of npm's registry, unless it is there.
func nodeModules(ctx context.Context, shared string) (string, error) {
	tarball, err := node.Tarball()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = shared
	}
	sum := sha256.Sum256(tarball)
	dir := filepath.Join(cache, "turnbuckle-bench", fmt.Sprintf("node-%x", sum[:8]))
	modules, complete := filepath.Join(dir, "node_modules"), filepath.Join(dir, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return modules, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", err
	}
	pack := filepath.Join(dir, "turnbuckle.tgz")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755), os.WriteFile(pack, tarball, 0o644)); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", pack).CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w: %s", err, out)
	}
	return modules, os.WriteFile(complete, nil, 0o644)
}

// write writes a file of testdata into a folder, and returns its path.
func write(dir, name string) (string, error) {
	text, err := files.ReadFile("testdata/" + name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, text, 0o644)
}
