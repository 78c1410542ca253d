//go:build !unix

package trust

import "os"

// lockFile does nothing where there is no flock: commands beside a running gateway are not safe there.
func lockFile(*os.File) error { return nil }

// syncFolder does nothing where folders cannot be synced.
func syncFolder(string) error { return nil }
