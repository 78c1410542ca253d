package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// nobody has a command run as a user that is not root: the one who runs the tests, unless that is root.
func nobody(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

// TestServeKeepsItsSecrets: what runs as the gateway's user reads neither its environment nor what it has mapped, unless
// it is wished. The gateway reads of itself what it has to, and starts plugin servers.
func TestServeKeepsItsSecrets(t *testing.T) {
	t.Parallel()
	if err := nobody(exec.CommandContext(t.Context(), "true")).Run(); errors.Is(err, syscall.EPERM) {
		t.Skip("root may not become somebody else here")
	}
	for _, dumpable := range []bool{false, true} {
		t.Run(fmt.Sprint("dumpable=", dumpable), func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "turnbuckle") // t.TempDir is for root alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := errors.Join(os.Chmod(dir, 0o777), os.Mkdir(filepath.Join(dir, "apis"), 0o755)); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "turnbuckle.yaml"), "servers: {ends: {command: [sh, -c, \"echo that was it; exit 7\"], restart: {backoff: 10ms, max_backoff: 20ms}}}\n")
			write(t, filepath.Join(dir, "apis/a.yaml"), "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\nhooks: {pre: [{hook: x, server: ends}]}\n")
			// Through /proc, for the test's own folder is root's; the name says which program it is to be.
			cmd := nobody(exec.CommandContext(t.Context(), "/proc/self/exe"))
			cmd.Args = []string{"turnbuckle", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", fmt.Sprint("--dumpable=", dumpable)}
			cmd.Dir, cmd.Env = dir, environment("TURNBUCKLE_RUN_DIR="+dir, "TURNBUCKLE_ADMIN_SECRET="+secret)
			stderr := processtest.NewOutput()
			cmd.Stderr = stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				if err := cmd.Wait(); err != nil {
					t.Errorf("%v:\n%s", err, stderr)
				}
			}()
			until(t, "the end of a plugin server that the gateway started", func() bool { return strings.Contains(stderr.String(), "process exited with status 7") })
			for _, file := range []string{"environ", "maps"} {
				path := fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, file)
				out, err := nobody(exec.CommandContext(t.Context(), "cat", path)).CombinedOutput()
				if dumpable && (err != nil || len(out) == 0) || !dumpable && (err == nil || !strings.Contains(string(out), "denied")) {
					t.Errorf("%s: %v: %.200q", path, err, out)
				}
			}
			var admin string
			until(t, "the control listener", func() bool {
				if m := controlListening.FindStringSubmatch(stderr.String()); m != nil {
					admin = "http://" + m[1]
				}
				return admin != ""
			})
			got := ask(t, "-X", http.MethodGet, "-H", "Authorization: Bearer "+secret, admin+"/metrics")
			for _, name := range []string{"process_open_fds", "process_resident_memory_bytes", "process_max_fds"} {
				if !strings.Contains(got, "\n"+name+" ") {
					t.Errorf("no %s of itself", name)
				}
			}
		})
	}
}
