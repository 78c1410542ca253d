package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime is how long files must have been left alone before a change is read: editors and copies write in steps.
const settleTime = 150 * time.Millisecond

// watch reloads when definitions or plugin folders change, until ctx ends.
func (g *gateway) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer w.Close() //nolint:errcheck // it has nothing to write
	g.watchFolders(w)
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("watching files: the watcher ended")
			}
			if e.Op != fsnotify.Chmod {
				quiet.Reset(settleTime)
			}
		case err := <-w.Errors:
			g.sight.log.Warn("watching files", "error", err.Error())
			quiet.Reset(settleTime) // events may have been lost
		case <-quiet.C:
			g.watchFolders(w) // folders may have come
			_ = g.reload(ctx) // the reloader has logged it
		}
	}
}

// watchFolders watches the folder of definitions and each plugin folder; those that are not there are left out.
func (g *gateway) watchFolders(w *fsnotify.Watcher) {
	_ = w.Add(g.s.APIs)
	if w.Add(g.s.Plugins) != nil {
		return
	}
	entries, err := os.ReadDir(g.s.Plugins)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			_ = w.Add(filepath.Join(g.s.Plugins, e.Name()))
		}
	}
}

// hangups reloads on SIGHUP until ctx ends.
func (g *gateway) hangups(ctx context.Context) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c:
			if err := g.front.Reload(); err != nil {
				g.sight.log.Error("certificates", "error", err.Error())
			}
			_ = g.reload(ctx) // the reloader has logged it
		}
	}
}
