// Package underscore is underscore.js (https://underscorejs.org), which Tyk's scripts find as the global _. The file is
// its npm package's, unchanged; LICENSE is its own.
package underscore

import _ "embed"

//go:generate ./generate.sh

// Source is the library in the UMD format: run in a global scope, it makes the global _.
//
//go:embed underscore-umd.js
var Source string
