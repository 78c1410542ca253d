// Package process is the runtime for plugin servers that the gateway starts itself: it starts a command, waits until it is
// ready, watches it, reads what it writes, starts it again when it ends, and replaces it without losing a call. Calls
// travel as with package rpc, which each running process is an instance for.
//
// A plugin server is any hashicorp/go-plugin server that serves gRPC, or any program that listens on the socket named in
// its environment (TURNBUCKLE_LISTEN). Nothing it starts outlives it, or the gateway: see package keeper.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/budget"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/output"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
)

// Options say what to start and how to look after it. All but Name and Command have defaults.
type Options struct {
	// Name is the plugin server's, in logs, errors and status.
	Name string
	// Command is the program and its arguments. A program with a slash in it is looked for from Dir, another in PATH.
	Command []string
	// Prepare says the command before each start, in place of Command, for those that take time to find out: it counts as
	// part of the start. An error that is a [*LoadError] says that no start will do better.
	Prepare func(context.Context) ([]string, error)
	// Dir is where it works, by default where the gateway does.
	Dir string
	// Env is added to its environment, as NAME=VALUE; PassEnv names what it gets of the gateway's, beyond PATH, HOME,
	// LANG, LC_ALL, LC_CTYPE, TZ and TMPDIR. No more of the gateway's environment is passed on.
	Env     []string
	PassEnv []string
	// User is who runs it, by name or as UID or UID:GID; only root may name one. Default: who runs the gateway.
	User   string
	Limits keeper.Limits
	// Instances is how many processes run at a time; default 1.
	Instances int
	// Handshake is how it says where it listens, Health the service asked of the health service of one that does not
	// know the handshake; "" asks for the server as a whole.
	Handshake handshake.Config
	Health    string

	StartTimeout  time.Duration // from the start until it is ready; default 10 s
	StopTimeout   time.Duration // from when it is told to end until it is killed; default 5 s
	HealthEvery   time.Duration // between health checks; default 3 s
	HealthTimeout time.Duration // of one, and between one that failed and the next; default 1 s
	HealthMisses  int           // as many failed in a row make it unhealthy; default 3
	Restart       budget.Policy // of each instance
	Output        output.Options

	// RPC is how calls travel. Its Address, TLS, Health, Resolve, Dial, Host and Log mean nothing, but for Host.
	RPC rpc.Options
	// RunDir is where folders for sockets are made, one for each process, for it alone; default: the system's for
	// temporary files. Paths of sockets are short: this one may have 60 bytes.
	RunDir string
	// Remains are folders of the host's own, with sockets for its plugins, that keepers remove when the host crashes.
	Remains []string
	// Keeper is the command that makes this binary a keeper, without [keeper.Arg]; default: the binary that runs.
	Keeper []string
	// Log takes what happens to processes, and what they write. Default: dropped.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	duration := func(v *time.Duration, to time.Duration) {
		if *v <= 0 {
			*v = to
		}
	}
	duration(&o.StartTimeout, 10*time.Second)
	duration(&o.StopTimeout, 5*time.Second)
	duration(&o.HealthEvery, 3*time.Second)
	duration(&o.HealthTimeout, time.Second)
	o.Instances = max(o.Instances, 1)
	if o.HealthMisses <= 0 {
		o.HealthMisses = 3
	}
	if o.RunDir == "" {
		o.RunDir = os.TempDir()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Restart = o.Restart.WithDefaults()
	o.RPC.Address, o.RPC.Log = o.Name, o.Log
	return o
}

// Check says what can be seen to be wrong before anything is started, as Open would.
func (o Options) Check() error {
	o = o.withDefaults()
	_, err := o.spec()
	return err
}

// maxRunDir leaves room for a folder's name and a socket's in what the kernel has for a socket's path.
const maxRunDir = 60

// spec derives what keepers are told, but for what is different at each start.
func (o *Options) spec() (*keeper.Spec, error) {
	fail := func(err error) (*keeper.Spec, error) { return nil, fmt.Errorf("plugin server %q: %w", o.Name, err) }
	if o.Name == "" || o.Prepare == nil && (len(o.Command) == 0 || o.Command[0] == "") {
		return fail(errors.New("name and command are required"))
	}
	if err := o.Handshake.Validate(); err != nil {
		return fail(err)
	}
	if l := o.Limits; l.Memory < 0 || l.Files < 0 || l.Processes < 0 {
		return fail(errors.New("limits must not be negative"))
	}
	for _, text := range slices.Concat(o.Command, o.Env, []string{o.Dir, o.Handshake.CookieValue}) {
		if strings.ContainsRune(text, 0) {
			return fail(fmt.Errorf("%.40q: a zero byte can stand in no argument, path or environment", text))
		}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fail(err)
	}
	run, err := filepath.Abs(o.RunDir)
	if err != nil {
		return fail(err)
	}
	if len(run) > maxRunDir {
		return fail(fmt.Errorf("run directory %s: path of %d bytes is too long for sockets in it: at most %d", run, len(run), maxRunDir))
	}
	if info, err := os.Stat(run); err != nil || !info.IsDir() {
		return fail(fmt.Errorf("run directory %s: there is no such directory, and sockets are to be in it", run))
	}
	o.RunDir = run
	s := &keeper.Spec{Args: o.Command, Dir: dir, Limits: o.Limits, Remains: o.Remains}
	if o.Prepare == nil {
		if s.Path, err = program(o.Command, dir); err != nil {
			return fail(err)
		}
	}
	home := os.Getenv("HOME")
	if o.User != "" {
		if s.User, home, err = findUser(o.User); err != nil {
			return fail(err)
		}
		if os.Geteuid() != 0 {
			return fail(fmt.Errorf("user %q: only root starts processes as somebody else", o.User))
		}
	}
	s.Env = o.environment(home)
	return s, nil
}

// program finds the file that a command runs.
func program(command []string, dir string) (string, error) {
	name := command[0]
	if !strings.Contains(name, "/") {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("command: %w", err)
		}
		return filepath.Abs(path)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("command: %w", err)
	}
	return name, nil
}

// environment is the program's, but for what the handshake adds.
func (o *Options) environment(home string) []string {
	pass := []string{"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
	pass = append(pass, o.PassEnv...)
	slices.Sort(pass)
	env := []string{"HOME=" + home}
	for _, name := range slices.Compact(pass) {
		if value, ok := os.LookupEnv(name); ok && name != "HOME" {
			env = append(env, name+"="+value)
		}
	}
	return append(env, o.Env...) // of two, the last counts
}

// UID is the number of who runs the program; -1: who runs the gateway.
func (o Options) UID() (int, error) {
	if o.User == "" {
		return -1, nil
	}
	u, _, err := findUser(o.User)
	if err != nil {
		return -1, err
	}
	return int(u.UID), nil
}

// findUser returns a user by name, by number, or by the numbers of user and group, and the user's home.
func findUser(name string) (*keeper.User, string, error) {
	uid, gid, numbers := strings.Cut(name, ":")
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(uid)
	}
	if err == nil && !numbers {
		gid = u.Gid
	}
	k := &keeper.User{}
	home := "/"
	if err == nil {
		home, uid = u.HomeDir, u.Uid
		groups, _ := u.GroupIds() // those of a user that is in none are no loss
		for _, g := range groups {
			if n, err := strconv.ParseUint(g, 10, 32); err == nil && !numbers {
				k.Groups = append(k.Groups, uint32(n))
			}
		}
	}
	u1, err1 := strconv.ParseUint(uid, 10, 32)
	g1, err2 := strconv.ParseUint(gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, "", fmt.Errorf("user %q: there is none: want a name, UID or UID:GID", name)
	}
	k.UID, k.GID = uint32(u1), uint32(g1)
	return k, home, nil
}
