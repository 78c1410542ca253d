package listen

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// reaches reports whether a connection to l's address arrives at l.
func reaches(t *testing.T, l net.Listener) {
	t.Helper()
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.Close()
		}
		accepted <- err
	}()
	conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

func TestTakeOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Open(t.Context(), "unix:"+path, 0o600, false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), "unix:"+path, 0o640, true)
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, second)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, second)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v", info, err)
	}
	third, err := Open(t.Context(), "unix:"+path, 0o600, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, third)
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	again, err := Open(t.Context(), "unix:"+path, 0o600, false) // what third left is stale
	if err != nil {
		t.Fatal(err)
	}
	reaches(t, again)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), "unix:"+file, 0o600, true); err == nil {
		_ = l.Close()
		t.Error("a file was taken for a server's socket")
	}
}

func TestTakeOverPort(t *testing.T) {
	first, err := Open(t.Context(), "127.0.0.1:0", 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), first.Addr().String(), 0, false); err == nil {
		_ = l.Close()
		t.Error("the port was opened twice without being asked for")
	}
	second, err := Open(t.Context(), "tcp://"+first.Addr().String(), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, second)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), taken(t), 0, true); err == nil || !strings.Contains(err.Error(), "must have been started for that") {
		t.Errorf("got %v, want to be told why", err)
	}
}

func TestInheritedSocket(t *testing.T) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	f, err := first.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(f.Fd())) // one that Listen may close
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), "fd:"+strconv.Itoa(fd), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if second.Addr().String() != first.Addr().String() {
		t.Errorf("got %v, want %v", second.Addr(), first.Addr())
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	reaches(t, first) // it lives on in others
	for _, bad := range []string{"fd:", "fd:x", "fd:-1", "fd:60000"} {
		if _, err := Open(t.Context(), bad, 0, false); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
