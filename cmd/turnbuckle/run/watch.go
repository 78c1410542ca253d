package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// watch reloads when definitions or plugin folders change, until ctx ends. What keeps it from watching is no reason not
// to serve: reloads then come by SIGHUP and the control listener alone.
func (g *gateway) watch(ctx context.Context) error {
	if err := g.watchFiles(ctx); err != nil {
		g.sight.log.Warn("changes of files are not noticed; send SIGHUP after a change", "error", err.Error())
	}
	return nil
}

func (g *gateway) watchFiles(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer w.Close() //nolint:errcheck // it has nothing to write
	folders := newFolders(g.s.APIs, g.s.Plugins)
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
	for {
		select {
		case <-ctx.Done():
			return nil
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
			_ = g.reload(ctx) // the reloader has logged it
		}
	}
}

// folders are those that definitions and plugins come from. Their parents are watched too: that is where one shows that
// is made, renamed or, being a symbolic link, pointed elsewhere. For a parent that is not there its own parent is, and so
// on.
type folders struct {
	apis, plugins string
}

func newFolders(apis, plugins string) *folders {
	return &folders{filepath.Clean(apis), filepath.Clean(plugins)}
}

// watch begins to watch what is there. A folder is watched anew each time, for the one of its name may be another.
func (f *folders) watch(w *fsnotify.Watcher) {
	again := func(path string) error {
		_ = w.Remove(path) // it may not be watched
		return w.Add(path)
	}
	for _, parent := range []string{filepath.Dir(f.apis), filepath.Dir(f.plugins)} {
		reach(w, parent)
	}
	_ = again(f.apis)
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

// concerned reports whether a change of that path may be one of definitions or plugins: of what stands beside a folder,
// or beside one above it, only the folder itself is.
func (f *folders) concerned(path string) bool {
	path = filepath.Clean(path)
	if holds(path, f.apis) || holds(path, f.plugins) {
		return true
	}
	dir := filepath.Dir(path)
	return dir == f.apis || dir == f.plugins || filepath.Dir(dir) == f.plugins
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
			if err := g.front.Reload(); err != nil {
				g.sight.log.Error("certificates", "error", err.Error())
			}
			if file := g.sight.file; file != nil {
				if err := file.reopen(); err != nil {
					g.sight.log.Error(err.Error())
				}
			}
			_ = g.reload(ctx) // the reloader has logged it
		}
	}
}
