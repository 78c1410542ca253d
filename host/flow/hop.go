package flow

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// HopByHop reports whether a field of that name concerns one connection only (RFC 9110 §7.6.1) and is never forwarded.
// Fields that a Connection field names are hop-by-hop too: see [ConnectionNames].
func HopByHop(name string) bool {
	switch len(name) {
	case 2:
		return sdk.EqualFold(name, "TE")
	case 7:
		return sdk.EqualFold(name, "Trailer") || sdk.EqualFold(name, "Upgrade")
	case 10:
		return sdk.EqualFold(name, "Connection") || sdk.EqualFold(name, "Keep-Alive")
	case 16:
		return sdk.EqualFold(name, "Proxy-Connection")
	case 17:
		return sdk.EqualFold(name, "Transfer-Encoding")
	case 19:
		return sdk.EqualFold(name, "Proxy-Authorization")
	case 18:
		return sdk.EqualFold(name, "Proxy-Authenticate")
	}
	return false
}

// ConnectionNames returns the field names that the header's Connection fields list, in a new slice; nil in the usual
// case that they list nothing but keep-alive, close or upgrade.
func ConnectionNames(h *sdk.Header) []string {
	var names []string
	for _, f := range h.Fields() {
		if len(f.Name) != 10 || !sdk.EqualFold(f.Name, "Connection") {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ",") {
			part = strings.Trim(part, " \t")
			if part == "" || sdk.EqualFold(part, "keep-alive") || sdk.EqualFold(part, "close") || sdk.EqualFold(part, "upgrade") {
				continue
			}
			names = append(names, part)
		}
	}
	return names
}
