package ship

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Place names where a sink delivers to, for [Options.Place]: equal parts give equal names, and no part can be read from it.
func Place(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	const enough = 8 // bytes, to tell the places of one gateway apart
	return hex.EncodeToString(h.Sum(nil)[:enough])
}

// Run makes a name for this run of a plugin, unlike any other's: what sinks that know ids of messages put before an
// item's Seq.
func Run() string { return rand.Text()[:16] }
