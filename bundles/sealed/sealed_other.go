//go:build !linux

package sealed

import (
	"errors"
	"os"
)

func create(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func seal(*os.File) error { return errors.ErrUnsupported }
