//go:build !unix

package listen

import (
	"errors"
	"syscall"
)

// reusePort exists where several servers can listen on one port.
func reusePort(string, string, syscall.RawConn) error {
	return errors.New("this system cannot take a port over")
}
