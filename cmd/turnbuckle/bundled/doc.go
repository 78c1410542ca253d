// Package bundled loads bundles by the name that a definition says: it fetches them from where the operator keeps them,
// verifies them by whom the operator trusts, records what was accepted, and tells every decision to the log and to whoever
// counts. The gateway and the commands beside it share it.
package bundled

import (
	"runtime"

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
