// Package redistest starts redis-servers for tests: one, one with TLS and users, one with replica and sentinels, a
// cluster. Each has a folder and free ports of its own, and ends with its test. Where there is no redis-server the test
// is skipped; with CI=true it fails, or it would be skipped for ever.
package redistest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startup is what a server gets to answer.
const startup = 20 * time.Second

// Server is a redis-server process.
type Server struct {
	Addr string // 127.0.0.1:port
	Pid  int
	Dir  string

	t       testing.TB
	args    []string
	cmd     *exec.Cmd
	log     *bytes.Buffer
	plain   bool // speaks without TLS
	stopped bool
}

// Start starts a server with these lines of configuration added, and returns when it answers. Nothing is saved unless a
// line asks for it.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	port := freePort(t)
	plain := true
	lines := []string{"save \"\"", "appendonly no", "dir " + dir, "bind 127.0.0.1", "daemonize no", "protected-mode no", "enable-debug-command yes"}
	for _, line := range config {
		plain = plain && !strings.HasPrefix(line, "tls-port ")
		lines = append(lines, strings.ReplaceAll(line, "$PORT", port))
	}
	if plain {
		lines = append(lines, "port "+port)
	}
	return run(t, dir, port, plain, lines)
}

func run(t testing.TB, dir, port string, plain bool, lines []string, args ...string) *Server {
	t.Helper()
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", port), Dir: dir, t: t, args: append([]string{file}, args...), plain: plain, stopped: true}
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

// Restart starts the server again, stopping it before if it runs, on the same port and with the same folder.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		absent(s.t)
	}
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(path, s.args...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = s.log, s.log, s.Dir
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.stopped, s.Pid = false, s.cmd.Process.Pid
	Await(s.t, "redis-server at "+s.Addr, s.answers)
}

func absent(t testing.TB) {
	t.Helper()
	const what = "there is no redis-server: make test installs it as root on Debian (.ci/install)"
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Kill ends the server at once, as a machine that fails does. Killing one that has ended does nothing.
func (s *Server) Kill() {
	if s.stopped {
		return
	}
	s.stopped = true
	s.cmd.Process.Kill()
	s.cmd.Wait() // its status is that it was killed
	if s.t.Failed() {
		s.t.Logf("redis-server at %s said:\n%s", s.Addr, s.log)
	}
}

func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if !s.plain {
		return true
	}
	reply, err := exchange(c, "PING")
	return err == nil && (strings.HasPrefix(reply, "+PONG") || strings.HasPrefix(reply, "-NOAUTH"))
}

// Do sends one command of plain words and returns the start of the reply as it is on the wire.
func (s *Server) Do(words ...string) string {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	reply, err := exchange(c, words...)
	if err != nil {
		return err.Error()
	}
	return reply
}

func exchange(c net.Conn, words ...string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := c.Write([]byte(command)); err != nil {
		return "", err
	}
	reply := make([]byte, 16<<10)
	n, err := c.Read(reply)
	return string(reply[:n]), err
}

// Await polls until what another process does has happened.
func Await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(startup)
	for !happened() {
		select {
		case <-poll.C:
		case <-limit:
			t.Fatalf("waited %v for %s", startup, what)
		}
	}
}

// freePort is a port that was free a moment ago, as was its cluster bus port, 10000 above. Both are below the ports that
// the system gives to connections of its own choosing, which could be taken in between, and while a server is down.
func freePort(t testing.TB) string {
	t.Helper()
	const first, ports, bus = 11_000, 10_000, 10_000
	for range 100 {
		port := first + rand.IntN(ports)
		if free(port) && free(port+bus) {
			return fmt.Sprint(port)
		}
	}
	t.Fatal("no free port between 11000 and 21000")
	return ""
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
