// Package proto carries the protocols' definition files and specification, for authors of plugins in other languages.
package proto

import "embed"

// Files holds coprocess/*.proto, plugin/v1/*.proto, PROTOCOL.md and CONFORMANCE.md, under the paths by which they import each other.
//
//go:embed coprocess/*.proto plugin/v1/*.proto PROTOCOL.md CONFORMANCE.md
var Files embed.FS
