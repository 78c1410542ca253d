// Package trust decides whom and what to believe: the key ring (whose signatures count, for which names, and which no
// longer), the policy (what this gateway wants of each name), the index (what is the newest), and the state (what
// was seen before, so that nothing goes back).
//
// Key ring and index are signed canonical JSON, the policy is the operator's own. Values do not change once they are
// read; a reload reads new ones.
package trust

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// MaxDocument bounds key rings, policies and indexes, in bytes, their envelopes included.
const MaxDocument = 4 << 20

// matches reports whether a pattern covers a name: the name itself, or its beginning when the pattern ends in *.
func matches(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == name || open && strings.HasPrefix(name, prefix)
}

// exact reports whether a pattern covers one name only.
func exact(pattern string) bool { return !strings.HasSuffix(pattern, "*") }

// checkPattern accepts a name, one that ends in /*, and * alone.
func checkPattern(code refusal.Code, where, pattern string) error {
	name, folder := strings.CutSuffix(pattern, "/*")
	if pattern == "*" {
		return nil
	}
	if err := manifest.CheckName(name); err != nil {
		if folder {
			return refusal.New(code, "%s: %w, as a name with /* behind it", where, err)
		}
		return refusal.New(code, "%s: %w", where, err)
	}
	return nil
}
