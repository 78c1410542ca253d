package pluginrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/run"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// files are those of a plugin's folder, by their names relative to it: when each was written, and how large it is.
type files map[string]string

// maxFiles bounds how many files are looked at.
const maxFiles = 20_000

// passedOver reports whether a file or folder of that name is none that its author writes.
func passedOver(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") {
		return true
	}
	switch filepath.Ext(name) {
	case ".pyc", ".sock", ".log", ".swp", ".tmp":
		return true
	}
	return slices.Contains([]string{"node_modules", "target", "__pycache__", "venv", "4913"}, name)
}

// scan looks at the folder, and calls each for every folder in it.
func scan(root string, each func(dir string)) files {
	all := files{}
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error { // what cannot be read cannot be followed
		switch {
		case err != nil:
			return nil
		case len(all) >= maxFiles:
			return fs.SkipAll
		case path != root && passedOver(e.Name()):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			each(path)
			return nil
		}
		info, err := os.Stat(path) // of a link, what it leads to
		name, bad := filepath.Rel(root, path)
		if err == nil && bad == nil && info.Mode().IsRegular() {
			all[name] = fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
		}
		return nil
	})
	return all
}

// changed lists the names of files that differ, came or went.
func (f files) changed(to files, but map[string]bool) []string {
	names := map[string]bool{}
	for name, stamp := range to {
		if f[name] != stamp {
			names[name] = true
		}
	}
	for name := range f {
		if _, is := to[name]; !is {
			names[name] = true
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return but[name] })
	return slices.Sorted(maps.Keys(names))
}

// settleTime is how long files must have been left alone before a change is acted on: editors write in steps.
const settleTime = 120 * time.Millisecond

// follow acts on changes of the plugin's files until ctx ends.
func (s *stage) follow(ctx context.Context, r *run.Running) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", s.folder, err)
	}
	defer w.Close() //nolint:errcheck // it has nothing to write
	look := func() files { return scan(s.folder, func(dir string) { _ = w.Add(dir) }) }
	quiet := time.NewTimer(0) // something may have changed since it was built
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watching %s ended", s.folder)
			}
			if e.Op != fsnotify.Chmod && !passedOver(filepath.Base(e.Name)) {
				quiet.Reset(settleTime)
			}
		case err := <-w.Errors: // events may have been lost
			s.tell.note("WARN", "watching the plugin's files: "+err.Error())
			quiet.Reset(settleTime)
		case <-quiet.C:
			now := look()
			if names := s.seen.changed(now, s.outputs); len(names) > 0 {
				s.seen = now
				s.act(ctx, r, names)
				quiet.Reset(settleTime) // what was written meanwhile
			}
		}
	}
}

// act has what changed serve.
func (s *stage) act(ctx context.Context, r *run.Running, names []string) {
	if s.plugin.Server.Address != "" && len(s.plugin.Build) == 0 && !slices.Contains(names, config.PluginFile) {
		return // its author starts it
	}
	began := time.Now()
	e := &changeEvent{Event: "change", Files: names, Did: "nothing"}
	did, err := s.apply(ctx, r)
	switch {
	case ctx.Err() != nil:
		return
	case errors.Is(err, errBuild): // it has been told
		return
	case err != nil:
		e.Error = s.legible(err).Error()
	default:
		e.Did = did
	}
	e.Duration = time.Since(began).Milliseconds()
	s.tell.changed(e)
}

func (s *stage) apply(ctx context.Context, r *run.Running) (did string, err error) {
	p, err := s.load(ctx)
	if err != nil {
		return "", err
	}
	s.plugin = p
	if err := s.define(); err != nil {
		return "", err
	}
	if did = "reloaded"; len(p.Server.Start.Command) > 0 || p.Server.Start.Python != nil {
		did = "replaced"
	}
	return did, r.Reload(ctx)
}

// errBuild says that the build command failed.
var errBuild = errors.New("build failed")

// firstBuild builds before anything serves. What it writes are no changes to act on later.
func (s *stage) firstBuild(ctx context.Context) error {
	nothing := func(string) {}
	before := scan(s.folder, nothing)
	var err error
	if s.plugin, err = s.load(ctx); err != nil {
		return err
	}
	s.seen = scan(s.folder, nothing)
	for _, name := range before.changed(s.seen, nil) {
		s.outputs[name] = true
	}
	return nil
}

// maxOutput is how much of what a build writes is shown.
const maxOutput = 16 << 10

// build runs the build command, if there is one, and tells of it.
func (s *stage) build(ctx context.Context, command []string) error {
	if len(command) == 0 {
		return nil
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.folder, s.env.Environ, time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &buildEvent{Event: "build", Command: command, OK: err == nil, Duration: time.Since(began).Milliseconds()}
	if len(out) > maxOutput {
		out = append([]byte("…"), out[len(out)-maxOutput:]...)
	}
	e.Output = strings.ToValidUTF8(string(out), "?")
	if err == nil {
		s.tell.built(e)
		return nil
	}
	e.Error = err.Error()
	s.tell.built(e)
	return fmt.Errorf("%w: %s: %w", errBuild, strings.Join(command, " "), err)
}
