//go:build unix && !linux

package keeper

import "os"

func own() (string, error) { return os.Executable() }
