package process

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// checkPeer refuses a socket that another user listens on: the path may have led anywhere.
func checkPeer(c *net.UnixConn, uid int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("who listens on the socket: %w", failed)
	}
	if int(peer.Uid) != uid {
		return fmt.Errorf("the socket is user %d's, the plugin runs as %d", peer.Uid, uid)
	}
	return nil
}
