package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// secret is that of every control listener here.
const secret = "s3cret-of-tests"

// processes are those that a script has running.
type processes struct {
	running map[string]*process
	pending map[string]chan result // of requests in the background
}

type processesKey struct{}

func setupScript(e *testscript.Env) error {
	ps := &processes{running: map[string]*process{}, pending: map[string]chan result{}}
	e.Values[processesKey{}] = ps
	e.Vars = append(e.Vars, "TURNBUCKLE_DRAIN_TIMEOUT=5s", processtest.QuickExit)
	e.Defer(func() {
		var errs []error
		for _, p := range ps.running {
			errs = append(errs, p.stop())
			if t, ok := e.T().(interface{ Failed() bool }); ok && t.Failed() {
				e.T().Log(p.Name + " wrote:\n" + p.Stdout.String() + p.Stderr.String())
			}
		}
		if err := errors.Join(errs...); err != nil {
			e.T().Log(err)
			e.T().FailNow()
		}
	})
	return nil
}

func of(ts *testscript.TestScript) *processes { return ts.Value(processesKey{}).(*processes) }

func (ps *processes) get(ts *testscript.TestScript, name string) *process {
	p := ps.running[name]
	if p == nil {
		ts.Fatalf("no process %q has been started", name)
	}
	return p
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"start": cmdStart, "serve": cmdServe, "end": cmdEnd, "crash": cmdCrash, "signal": cmdSignal, "log": cmdLog, "holds": cmdHolds,
		"fill": cmdFill, "replace": cmdReplace, "closedport": cmdClosedPort,
		"http": cmdHTTP, "until": cmdUntil, "begin": cmdBegin, "finish": cmdFinish, "raw": cmdRaw, "let": cmdLet,
	}
}

func no(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

// cmdStart: start NAME PROGRAM [ARGS]. Sets $NAME to the address it tells; for a gateway to its URL, and $NAME_ADMIN to
// its control listener's.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "start NAME PROGRAM [ARGS]")
	begin(ts, args[0], args[1:])
}

// cmdServe: serve NAME [FLAGS] starts a gateway on free ports.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 1, "serve NAME [FLAGS]")
	all := append([]string{"turnbuckle", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", secret}, args[1:]...)
	begin(ts, args[0], all)
}

func begin(ts *testscript.TestScript, name string, args []string) {
	ps := of(ts)
	if ps.running[name] != nil {
		ts.Fatalf("%s runs already", name)
	}
	p, err := launch(ts.MkAbs("."), scriptEnv(ts), name, args...)
	ts.Check(err)
	ps.running[name] = p
	ts.Setenv(name, p.address)
	if args[0] == "turnbuckle" {
		scheme := "http://"
		if strings.Contains(strings.Join(args, " "), "--tls-cert") {
			scheme = "https://"
		}
		ts.Setenv(name, scheme+p.address)
		ts.Setenv(name+"_ADDR", p.address)
		ts.Setenv(name+"_ADMIN", "http://"+p.admin)
	}
}

// scriptEnv is the script's environment, as a program of the script would see it.
func scriptEnv(ts *testscript.TestScript) []string {
	ts.Check(ts.Exec("sh", "-c", "env >.environment"))
	return strings.Split(strings.TrimSpace(ts.ReadFile(".environment")), "\n")
}

// cmdEnd: end NAME ends a process gently; what it wrote is stdout and stderr. With !, it must exit with another
// status than 0. end -self NAME waits for one that is to end by itself.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	self := len(args) > 1 && args[0] == "-self"
	if self {
		args = args[1:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: [!] end [-self] NAME")
	}
	ps := of(ts)
	p := ps.get(ts, args[0])
	p.told = p.told || self
	err := p.stop()
	delete(ps.running, args[0])
	fmt.Fprint(ts.Stdout(), p.Stdout)
	fmt.Fprint(ts.Stderr(), p.Stderr)
	if !neg {
		ts.Check(err)
	} else if err == nil {
		ts.Fatalf("%s ended well", args[0])
	}
}

// cmdCrash: crash NAME ends a process as a crash would.
func cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 1, "crash NAME")
	ps := of(ts)
	ps.get(ts, args[0]).Kill()
	delete(ps.running, args[0])
}

// cmdSignal: signal NAME HUP|TERM|INT.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "signal NAME SIGNAL")
	s := unix.SignalNum("SIG" + args[1])
	if s == 0 {
		ts.Fatalf("no signal %q", args[1])
	}
	p := of(ts).get(ts, args[0])
	p.told = p.told || syscall.Signal(s) == syscall.SIGTERM
	ts.Check(p.Signal(syscall.Signal(s)))
}

// cmdLog: log NAME REGEXP waits until the process has written it; ! log NAME REGEXP: it has not.
func cmdLog(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] log NAME REGEXP")
	}
	p := of(ts).get(ts, args[0])
	if neg {
		re, err := regexp.Compile("(?m)" + args[1])
		ts.Check(err)
		if m, ok := p.Wrote(re); ok {
			ts.Fatalf("%s has written %q", args[0], m)
		}
		return
	}
	_, err := p.Await(args[1])
	ts.Check(err)
}

// cmdHolds: holds FILE REGEXP waits until a file that another process writes holds it.
func cmdHolds(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "holds FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var data []byte
	if !processtest.Poll(func() bool {
		data, err = os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && re.Match(data)
	}) {
		ts.Fatalf("%s does not hold %q: %v\n%s", args[0], args[1], err, data)
	}
}

// cmdFill: fill FILE... replaces ${NAME} in files by the script's variables.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 1, "fill FILE...")
	for _, pattern := range args {
		files, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(files) == 0 {
			ts.Fatalf("no file %s", pattern)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			ts.Check(err)
			ts.Check(os.WriteFile(file, []byte(os.Expand(string(data), ts.Getenv)), 0o644))
		}
	}
}

// cmdLet: let NAME REGEXP sets $NAME to what the first group matches in what the last command printed.
func cmdLet(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 2, "let NAME REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("%q with a group is not in:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}

// cmdReplace: replace OLD NEW FILE changes a file in one step, as a careful editor does.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 3, "replace OLD NEW FILE")
	file := ts.MkAbs(args[2])
	data, err := os.ReadFile(file)
	ts.Check(err)
	info, err := os.Stat(file)
	ts.Check(err)
	if !strings.Contains(string(data), args[0]) {
		ts.Fatalf("%s does not hold %q", args[2], args[0])
	}
	next := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".next")
	ts.Check(os.WriteFile(next, []byte(strings.ReplaceAll(string(data), args[0], args[1])), info.Mode()))
	ts.Check(os.Rename(next, file))
}

// cmdClosedPort: closedport NAME sets $NAME to an address that refuses connections: bound, never listened on.
func cmdClosedPort(ts *testscript.TestScript, neg bool, args []string) {
	no(ts, neg, args, 1, "closedport NAME")
	address, release, err := closedPort()
	ts.Check(err)
	ts.Defer(release)
	ts.Setenv(args[0], address)
}

func closedPort() (address string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = unix.Close(fd) }
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, errors.Join(err, unix.Close(fd))
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", nil, errors.Join(err, unix.Close(fd))
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(sa.(*unix.SockaddrInet4).Port)), release, nil
}
