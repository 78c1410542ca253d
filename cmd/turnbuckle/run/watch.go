package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/watched"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
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
			if err := g.watchFiles(ctx, now, again); err != nil {
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
func (g *gateway) watchFiles(ctx context.Context, gen *generation, again bool) error {
	loaded, folders := gen.loaded.Load(), foldersOf(gen)
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer w.Close() //nolint:errcheck // it has nothing to write
	folders.Watch(w)
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
		if is := now.loaded.Load(); !now.s.Watch || now != gen || is != loaded {
			if !now.s.Watch || !reflect.DeepEqual(foldersOf(now), folders) {
				return nil
			}
			gen, loaded = now, is
		}
		select {
		case <-ctx.Done():
			return nil
		case <-turned:
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("watching files: the watcher ended")
			}
			if e.Op != fsnotify.Chmod && folders.Concerned(e.Name) {
				change()
			}
		case err := <-w.Errors:
			g.sight.log.Warn("watching files", "error", err.Error())
			change() // events may have been lost
		case <-quiet.C:
			first = time.Time{}
			folders.Watch(w)  // some may have come, or been put in another's place
			_ = g.reload(ctx) // the worker has logged it
		}
	}
}

// foldersOf is what a generation is made of.
func foldersOf(gen *generation) *watched.Folders {
	var files []string
	if from := gen.from.Load(); from != nil {
		files = from.Files
	}
	var defs []*config.Definition
	var plugins []*config.Plugin
	if d := gen.loaded.Load(); d != nil {
		defs, plugins = d.Set.Definitions, d.Plugins
	}
	return watched.New(gen.s, files, defs, plugins)
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
