package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settleTime is how long files must have been left alone before a change is read: editors and copies write in steps.
	settleTime = 150 * time.Millisecond
	// settleLimit is when it is read although they are not left alone.
	settleLimit = 2 * time.Second
)

// watch reloads when definitions, plugin folders, policies or settings change in their files, until ctx ends. What keeps it
// from watching is no reason not to serve: reloads then come by SIGHUP and the control listener alone.
func (g *gateway) watch(ctx context.Context) error {
	for again := false; ctx.Err() == nil; again = true {
		turned, now := g.changed.next(), g.now.Load()
		if now.s.Watch {
			if err := g.watchFiles(ctx, newFolders(now), again); err != nil {
				g.sight.log.Warn("changes of files are not noticed; send SIGHUP after a change", "error", err.Error())
			} else {
				continue
			}
		}
		select {
		case <-turned:
		case <-ctx.Done():
		}
	}
	return nil
}

// watchFiles watches until ctx ends or a generation serves that wants other files watched, or none. When it begins again,
// changes may have been missed.
func (g *gateway) watchFiles(ctx context.Context, folders *folders, again bool) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer w.Close() //nolint:errcheck // it has nothing to write
	folders.watch(w)
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time // of the changes that wait
	change := func() {
		if first.IsZero() {
			first = time.Now()
		}
		quiet.Reset(min(settleTime, max(0, settleLimit-time.Since(first))))
	}
	if again {
		change()
	}
	for {
		turned, now := g.changed.next(), g.now.Load()
		if !now.s.Watch || !reflect.DeepEqual(newFolders(now), folders) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-turned:
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("watching files: the watcher ended")
			}
			if e.Op != fsnotify.Chmod && folders.concerned(e.Name) {
				change()
			}
		case err := <-w.Errors:
			g.sight.log.Warn("watching files", "error", err.Error())
			change() // events may have been lost
		case <-quiet.C:
			first = time.Time{}
			folders.watch(w)  // some may have come, or been put in another's place
			_ = g.reload(ctx) // the worker has logged it
		}
	}
}

// folders are those that definitions, plugins and policies come from, and files those that say settings. Their parents are
// watched too: that is where one shows that is made, renamed or, being a symbolic link, pointed elsewhere. For a parent
// that is not there its own parent is, and so on.
type folders struct {
	apis, plugins, policies string
	files                   []string
}

func newFolders(gen *generation) *folders {
	f := &folders{apis: filepath.Clean(gen.s.APIs), plugins: filepath.Clean(gen.s.Plugins), policies: filepath.Clean(gen.s.Policies)}
	if from := gen.from.Load(); from != nil {
		f.files = from.Files
	}
	return f
}

// watch begins to watch what is there. A folder is watched anew each time, for the one of its name may be another.
func (f *folders) watch(w *fsnotify.Watcher) {
	again := func(path string) error {
		_ = w.Remove(path) // it may not be watched
		return w.Add(path)
	}
	for _, path := range append([]string{f.apis, f.plugins, f.policies}, f.files...) {
		reach(w, filepath.Dir(path))
	}
	_ = again(f.apis)
	_ = again(f.policies)
	if again(f.plugins) != nil {
		return
	}
	entries, err := os.ReadDir(f.plugins)
	if err != nil {
		return
	}
	for _, e := range entries {
		if path := filepath.Join(f.plugins, e.Name()); isFolder(path) {
			_ = again(path)
		}
	}
}

// reach watches a folder or, while it is not there, the nearest above it that is. It tries again once the one above is
// watched: the folder may have been made meanwhile.
func reach(w *fsnotify.Watcher, path string) {
	if w.Add(path) == nil || filepath.Dir(path) == path {
		return
	}
	reach(w, filepath.Dir(path))
	_ = w.Add(path) // or the one above tells when it comes
}

// isFolder follows symbolic links: plugin folders may be such.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// concerned reports whether a change of that path may be one of what is watched: of what stands beside a folder or a file, or
// beside one above it, only the folder or the file itself is. A config map is changed by what its ..data points to.
func (f *folders) concerned(path string) bool {
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	for _, folder := range []string{f.apis, f.plugins, f.policies} {
		if holds(path, folder) || dir == folder {
			return true
		}
	}
	for _, file := range f.files {
		if path == file || path == filepath.Join(filepath.Dir(file), "..data") {
			return true
		}
	}
	return filepath.Dir(dir) == f.plugins
}

// holds reports whether a path is the folder, or one above it.
func holds(path, folder string) bool {
	return path == folder || strings.HasPrefix(folder, strings.TrimSuffix(path, "/")+"/")
}

// heed reloads, and opens the access log anew, at each hangup until ctx ends. Those that come while one is heeded are one.
func (g *gateway) heed(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			_ = g.ask(ctx, g.hangup) // the worker has logged it
		}
	}
}

// hangup reads everything again, certificates too, and opens the access log's file anew.
func (g *gateway) hangup(ctx context.Context) error {
	if err := g.front.Load().Reload(); err != nil {
		g.sight.log.Error("certificates", "error", err.Error())
	}
	if access, _ := g.now.Load().access.Opened(); access.file != nil {
		if err := access.file.Reopen(); err != nil {
			g.sight.log.Error(err.Error())
		}
	}
	return g.reread(ctx)
}
