package serve

import (
	"context"
	"io/fs"
	"net"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/listen"
)

// Listen opens addr: unix:PATH (or unix:///PATH), tcp://HOST:PORT, HOST:PORT, or fd:N for a listening socket that the
// process inherited, as systemd's socket activation passes them, from fd:3 on. The file of a unix socket gets mode; one
// that a dead server left behind is removed first, one that a living server answers on is an error.
func Listen(ctx context.Context, addr string, mode fs.FileMode) (net.Listener, error) {
	return listen.Open(ctx, addr, mode, false)
}

// TakeOver is Listen, but that another server may have the address still: from now on connections come to this one, to
// both in the case of TCP. A unix socket's file is replaced, and stays when the server stops, for it could be the next
// one's by then. A TCP port (SO_REUSEPORT, not on Windows) must have been opened by TakeOver before, by the same user.
func TakeOver(ctx context.Context, addr string, mode fs.FileMode) (net.Listener, error) {
	return listen.Open(ctx, addr, mode, true)
}
