//go:build !linux

package counts

import "os"

// persist returns when what was written is on disk.
func persist(f *os.File) error { return f.Sync() }
