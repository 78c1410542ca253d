package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, addr, want string }{
		{"nothing", "", "want unix:PATH"},
		{"no port", "localhost", "want unix:PATH"},
		{"no socket path", "unix:", "names no socket file"},
		{"long socket path", "unix:" + filepath.Join(dir, strings.Repeat("x", 120)), "choose a shorter folder"},
		{"a file in its place", "unix:" + file, "a file that is no socket"},
		{"no such folder", "unix:" + filepath.Join(dir, "none", "s"), "listen on socket"},
		{"port taken", "tcp://" + taken(t), "listen on tcp://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Open(t.Context(), tt.addr, 0o600, false)
			if err == nil {
				_ = l.Close()
				t.Fatal("listened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to say %q", err, tt.want)
			}
		})
	}
}

func taken(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestListenAddresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "tcp://127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s"), "unix://" + filepath.Join(t.TempDir(), "s")} {
		l, err := Open(t.Context(), addr, 0o600, false)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Open(t.Context(), "unix:"+path, 0o640, false)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	if _, err := Open(t.Context(), "unix:"+path, 0o600, false); err == nil || !strings.Contains(err.Error(), "a running server listens") {
		t.Errorf("took the socket of a running server: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), "unix:"+path, 0o600, false)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()

	// A server that closes leaves the socket of its successor alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := Open(t.Context(), "unix:"+path, 0o600, false)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the old server removed the new one's socket: %v", err)
	}
}
