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

	"github.com/turnbuckle-gateway/turnbuckle/sdk/node"
)

//go:embed testdata
var files embed.FS

// The languages.
const (
	Python = "python"
	Node   = "node"
)

// PythonPlugin writes a plugin in Python into dir/plugins.d, for the gateway to start as its server of that name with so many
// workers. Its hooks are SetHeader and Sleep.
func PythonPlugin(dir, name string, workers int) error {
	folder := filepath.Join(dir, "plugins.d", name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if _, err := write(folder, "plugin.py"); err != nil {
		return err
	}
	text := fmt.Sprintf("name: %s\nruntime: python\nworkers: %d\nhooks: [{name: SetHeader, phase: pre}, {name: Sleep, phase: pre}]\n", name, workers)
	return os.WriteFile(filepath.Join(folder, "plugin.yaml"), []byte(text), 0o644)
}

// NodeCommand returns the command of the plugin server in Node, but for --listen and its address; its hook is SetHeader.
// dir is a folder for its files, shared one for those that servers have in common.
func NodeCommand(ctx context.Context, dir, shared string) ([]string, error) {
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
