//go:build unix && !linux

package process

import "net"

// checkPeer trusts the folder that the socket is in.
func checkPeer(*net.UnixConn, int) error { return nil }
