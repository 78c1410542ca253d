// Package bundled loads bundles by the name that a definition says: it fetches them from where the operator keeps them,
// verifies them by whom the operator trusts, records what was accepted, and tells every decision to the log and to whoever
// counts. The gateway and the commands beside it share it.
package bundled

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Describe reads name and version out of a plugin.yaml, for bundles.Verifier.
func Describe(pluginFile []byte) (name, version string, err error) {
	root, problems := document.Parse(config.PluginFile, pluginFile)
	if err := problems.Err(); err != nil {
		return "", "", err
	}
	return text(root, "name"), text(root, "version"), nil
}

func text(root *document.Node, key string) string {
	n := root.Get(key)
	if n == nil || n.Kind == document.Mapping || n.Kind == document.Sequence {
		return ""
	}
	return n.Text
}

// Host is this gateway, of a version, for what bundles demand. It enforces no sandbox yet, and so loads no bundle that
// insists on one.
func Host(version string) bundles.Host {
	return bundles.Host{Version: version, Platform: runtime.GOOS + "/" + runtime.GOARCH}
}

// A Decision is what became of one bundle: the audit event.
type Decision struct {
	// Name is what was asked for, Origin where it came from.
	Name   string `json:"name"`
	Origin string `json:"origin,omitempty"`
	OK     bool   `json:"ok"`
	// Reason is the code of the refusal, Message what was found, and Advice what to do; empty when OK.
	Reason  refusal.Code `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	Advice  string       `json:"advice,omitempty"`
	// Verdict is what was found out about an accepted one.
	Verdict *bundles.Verdict `json:"verdict,omitempty"`
	// Stale is why the source was of no use, and the archive came from the cache.
	Stale string `json:"stale,omitempty"`

	again bool // it was loaded before, and nothing about it has changed
}

// Decide makes a Decision of what Verify returned.
func Decide(name, origin string, b *bundles.Bundle, err error) Decision {
	d := Decision{Name: name, Origin: origin, OK: err == nil}
	if err != nil {
		d.Reason, d.Message = refusal.CodeOf(err), err.Error()
		if r, ok := asRefusal(err); ok {
			d.Message, d.Advice = r.Message, r.Code.Advice()
		}
		return d
	}
	v := b.Verdict()
	d.Verdict = &v
	return d
}

// decided counts a decision, tells it, and writes the audit line.
func (l *Loader) decided(ctx context.Context, d Decision) {
	l.count(cmp.Or(string(d.Reason), "loaded"))
	if l.settings.Observe != nil {
		l.settings.Observe(d)
	}
	attrs := []slog.Attr{slog.String("bundle", d.Name), slog.String("origin", d.Origin)}
	if !d.OK {
		attrs = append(attrs, slog.String("reason", string(d.Reason)), slog.String("error", d.Message), slog.String("hint", d.Advice))
		l.settings.Log.LogAttrs(ctx, slog.LevelError, "bundle refused", attrs...)
		return
	}
	v := d.Verdict
	attrs = append(attrs, slog.String("version", v.Release.Version), slog.Uint64("serial", v.Release.Serial), slog.String("digest", v.Digest),
		slog.String("archive_sha256", v.ArchiveSHA256), slog.String("keys", strings.Join(v.Keys, ",")), slog.String("rule", v.Rule), slog.String("format", v.Format))
	level := slog.LevelInfo
	for _, doubt := range d.Doubts() {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Bool(doubt, true))
	}
	if d.again { // has been said
		level = slog.LevelDebug
	}
	l.settings.Log.LogAttrs(ctx, level, "bundle loaded", attrs...)
}

// Doubts names what an operator should know about a bundle that loaded all the same.
func (d Decision) Doubts() []string {
	var doubts []string
	for _, doubt := range []struct {
		name string
		set  bool
	}{
		{"stale", d.Stale != ""}, {"unsigned", d.OK && d.Verdict.Unsigned}, {"unsigned_wiring", d.OK && d.Verdict.UnsignedWiring},
		{"overridden", d.OK && d.Verdict.Overridden}, {"clock_back", d.OK && d.Verdict.ClockBack}, {"unlisted_files", d.OK && len(d.Verdict.Unlisted) > 0},
	} {
		if doubt.set {
			doubts = append(doubts, doubt.name)
		}
	}
	return doubts
}
