package shelf

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

// Changed reports whether a load would find something else than the last one did: another archive under a name, another
// key ring, policy or index, something revoked or rolled back. What is on this machine is looked at every time, what is
// elsewhere when the poll interval is over.
func (s *Shelf) Changed(ctx context.Context) bool {
	s.mu.Lock()
	l, trust, tried := s.loader, s.trust, maps.Clone(s.tried)
	poll := s.o.Settings.Poll
	due := poll > 0 && time.Since(s.asked) >= poll
	if due {
		s.asked = time.Now()
	}
	s.mu.Unlock()
	now := s.trustFiles()
	if l != nil {
		now = s.trustOf(ctx, l, now, due)
	}
	changed := now != trust && len(tried) > 0
	for name, was := range tried {
		is := was
		is.stamp = s.filesOf(name)
		if due && l != nil && folderOf(s.o.Settings.BaseURL) == "" && s.o.Settings.BaseURL != "" {
			// A source that fails is no reason to load again what serves.
			if offer := l.Offered(ctx, name); ctx.Err() == nil && (was.err != nil || offer.Refused == "") {
				is.offer = offer
			}
		}
		if is != was {
			changed = true
			s.saw(name, was, is)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trust == trust {
		s.trust = now
	}
	return changed
}

// saw remembers what is offered now, unless it was tried meanwhile: what was told once is not told again.
func (s *Shelf) saw(name string, was, is attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tried[name] == was {
		s.tried[name] = is
	}
}

// trustOf is a text that changes with whom is trusted; files is the part of it that trustFiles gave.
func (s *Shelf) trustOf(ctx context.Context, l *bundled.Loader, files string, fetch bool) string {
	seen, err := l.Seen(ctx, fetch)
	if err != nil {
		seen = "cannot be read" // by the load either, which says why
	}
	return seen + " " + files
}

// filesOf stamps the files that a name may stand for, in folders on this machine.
func (s *Shelf) filesOf(name string) string {
	var b strings.Builder
	for _, folder := range []string{s.o.Plugins, folderOf(s.o.Settings.BaseURL)} {
		for _, suffix := range []string{"", ".dsse.json", ".zip", ".zip.dsse.json"} {
			if folder != "" {
				stamp(&b, filepath.Join(folder, filepath.FromSlash(name)+suffix))
			}
		}
	}
	return b.String()
}

// trustFiles stamps the files that say whom to trust.
func (s *Shelf) trustFiles() string {
	var b strings.Builder
	c := s.o.Settings
	for _, file := range append(slices.Clone(c.PublicKeys), c.Policy, c.KeyRing, c.Index) {
		if file == "" || strings.Contains(file, "://") {
			continue
		}
		stamp(&b, file)
		if entries, err := os.ReadDir(file); err == nil {
			for _, e := range entries {
				stamp(&b, filepath.Join(file, e.Name()))
			}
		}
	}
	return b.String()
}

func stamp(b *strings.Builder, path string) {
	if info, err := os.Stat(path); err == nil {
		fmt.Fprintf(b, "%s %d %d;", path, info.ModTime().UnixNano(), info.Size())
	}
}

// folderOf is the folder that a base is; empty when it is none.
func folderOf(base string) string {
	if rest, ok := strings.CutPrefix(base, "file://"); ok {
		return filepath.FromSlash(strings.TrimPrefix(rest, "localhost"))
	}
	if base == "" || strings.Contains(base, "://") || strings.HasPrefix(base, "oci-layout:") {
		return ""
	}
	return base
}
