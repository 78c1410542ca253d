// Package early is for a process that is to be a keeper. Whoever imports it is one before most other packages are
// initialised, and never comes to main: what a gateway has to prepare, a keeper has no use for, and each start of a plugin
// server waits for its keeper.
//
// Go initialises packages in the order of their import paths, each as soon as those that it imports are. This one and
// keeper need little beside the standard library, so the heavy ones come later. Nothing but time depends on it.
package early

import (
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
)

var _ = begin()

func begin() struct{} {
	if keeper.Wanted(os.Args) {
		os.Exit(keeper.Main())
	}
	return struct{}{}
}
