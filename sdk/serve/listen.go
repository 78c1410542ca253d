package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Listen opens addr: unix:PATH (or unix:///PATH), tcp://HOST:PORT or HOST:PORT. The file of a unix socket gets mode;
// one that a dead server left behind is removed first, one that a living server answers on is an error.
func Listen(ctx context.Context, addr string, mode fs.FileMode) (net.Listener, error) {
	if path, ok := socketPath(addr); ok {
		return listenUnix(ctx, path, mode)
	}
	hostport := strings.TrimPrefix(addr, "tcp://")
	if _, _, err := net.SplitHostPort(hostport); err != nil {
		return nil, fmt.Errorf("address %q: want unix:PATH, tcp://HOST:PORT or HOST:PORT", addr)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", hostport)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
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

func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	switch {
	case path == "":
		return nil, errors.New("address unix: names no socket file: want unix:PATH")
	case len(path) > maxSocketPath():
		return nil, fmt.Errorf("socket path of %d bytes: the system allows %d, choose a shorter folder: %s",
			len(path), maxSocketPath(), path)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// The socket is made under a name of its own, given its mode and only then moved to where clients look, so that
	// nobody can connect before the mode holds.
	own := path
	if tmp := fmt.Sprintf("%s.%d", path, os.Getpid()); len(tmp) <= maxSocketPath() {
		own = tmp
		if err := removeStale(ctx, own); err != nil { // of a server that died right here, under the same process id
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
	return &unixListener{UnixListener: ul, path: path, info: info}, nil
}

// unixListener removes its socket file when it closes, unless another server has put its own there since.
type unixListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

// Close stops listening and removes the socket file.
func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path) // a file that cannot be removed is found stale by the next server
	}
	return l.UnixListener.Close()
}

// removeStale removes the socket file of a server that died. Whatever else is there is an error.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket %s: %w", path, err)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("socket %s: a file that is no socket is in its place: remove it or choose another path", path)
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
