// Package listen opens the addresses of plugin servers.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Open opens addr: unix:PATH (or unix:///PATH), tcp://HOST:PORT, HOST:PORT, or fd:N for a listening socket that the
// process inherited. With takeover another server may have it still. See package serve, whose Listen and TakeOver it is.
func Open(ctx context.Context, addr string, mode fs.FileMode, takeover bool) (net.Listener, error) {
	if path, ok := socketPath(addr); ok {
		return listenUnix(ctx, path, mode, takeover)
	}
	if fd, ok := strings.CutPrefix(addr, "fd:"); ok {
		return inherited(fd)
	}
	hostport := strings.TrimPrefix(addr, "tcp://")
	if _, _, err := net.SplitHostPort(hostport); err != nil {
		return nil, fmt.Errorf("address %q: want unix:PATH, tcp://HOST:PORT, HOST:PORT or fd:N", addr)
	}
	var c net.ListenConfig
	hint := ""
	if takeover {
		c.Control, hint = reusePort, " (a server whose port is to be taken over must have been started for that, too)"
	}
	l, err := c.Listen(ctx, "tcp", hostport)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w%s", addr, err, hint)
	}
	return l, nil
}

// inherited returns the listener of an open file descriptor. Its end leaves the socket to whoever else has it.
func inherited(fd string) (net.Listener, error) {
	n, err := strconv.ParseUint(fd, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address fd:%s: want the number of an open file descriptor", fd)
	}
	f := os.NewFile(uintptr(n), "fd:"+fd)
	l, err := net.FileListener(f) // which has a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("file descriptor %s is no listening socket: %w", fd, err)
	}
	return l, f.Close()
}

// Address is where a listener listens in the form that addresses have: with the port the system chose, if it did.
func Address(l net.Listener) string {
	a := l.Addr()
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

func socketPath(addr string) (string, bool) {
	path, ok := strings.CutPrefix(addr, "unix:")
	if !ok {
		return "", false
	}
	if rest, ok := strings.CutPrefix(path, "//"); ok { // unix:///run/x.sock
		path = rest
	}
	return path, true
}

// maxSocketPath is what the kernel's sockaddr_un holds beside its closing zero.
func maxSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

func listenUnix(ctx context.Context, path string, mode fs.FileMode, takeover bool) (net.Listener, error) {
	switch {
	case path == "":
		return nil, errors.New("address unix: names no socket file: want unix:PATH")
	case len(path) > maxSocketPath():
		return nil, fmt.Errorf("socket path of %d bytes: the system allows %d, choose a shorter folder: %s",
			len(path), maxSocketPath(), path)
	}
	if err := removeStale(ctx, path, takeover); err != nil {
		return nil, err
	}
	// The socket is made under a name of its own, given its mode and only then moved to where clients look, so that
	// nobody can connect before the mode holds.
	own := path
	if tmp := fmt.Sprintf("%s.%d", path, os.Getpid()); len(tmp) <= maxSocketPath() {
		own = tmp
		if err := removeStale(ctx, own, false); err != nil { // of a server that died right here, under the same process id
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", own)
	if err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", path, err)
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	err = os.Chmod(own, mode)
	if err == nil && own != path {
		err = os.Rename(own, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close(), os.Remove(own))
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close())
	}
	return &unixListener{UnixListener: ul, path: path, info: info, stays: takeover}, nil
}

// unixListener removes its socket file when it closes, unless another server has put its own there since.
type unixListener struct {
	*net.UnixListener
	path  string
	info  fs.FileInfo
	stays bool // the file does: between looking whose it is and removing it, it could become another's
}

// Addr returns the path that clients use.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket file.
func (l *unixListener) Close() error {
	if l.stays {
		return l.UnixListener.Close()
	}
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path) // a file that cannot be removed is found stale by the next server
	}
	return l.UnixListener.Close()
}

// removeStale removes the socket file of a server that died. Whatever else is there is an error, but for the socket of a
// living server that is to be taken over: that stays where clients look until the new one replaces it.
func removeStale(ctx context.Context, path string, takeover bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket %s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("socket %s: a file that is no socket is in its place: remove it or choose another path", path)
	case takeover:
		return nil
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it only asked whether somebody is there
		return fmt.Errorf("socket %s: a running server listens there: stop it or choose another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %s: cannot tell whether a running server listens there: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket %s: remove the one a dead server left: %w", path, err)
	}
	return nil
}
