// Package python is the runtime for plugins in Python: it starts sdk/python's shim through package process, on a CPython of
// the operator's. Each worker is an instance of the server. No interpreter is loaded into the gateway.
//
// A plugin is a folder, with files written for Tyk, or for our own package. One server runs one folder: sdk/python/SHIM.md
// says what of it is loaded.
package python

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Options say what to run.
type Options struct {
	// Process says how the shim is looked after. Its Command, Handshake and Health are this package's; its Dir is by default
	// the plugin's folder.
	Process process.Options
	// Shim and Interpreter are what runs it. Both are required. Interpreter is asked before each start, and may take its time;
	// an error that is ErrNoInterpreter says that no start will do better.
	Shim        *Shim
	Interpreter func(context.Context) (*Interpreter, error)

	// Folder is the plugin's, absolute.
	Folder string
	// Tyk says that it is written for Tyk. Files, of a plugin that is, are loaded alone, by paths from the folder; none
	// means all that SHIM.md says.
	Tyk   bool
	Files []string
	// Main is the file of any other plugin, from the folder; "" is what the shim takes by itself.
	Main string

	Workers int // instances of the server, each a process; default: as many as there are processors, at most 4
	Threads int // of each, for hooks that wait; default 64

	// Install makes a virtual environment with what a requirements.txt in the folder asks for, from the network; without,
	// modules are the interpreter's.
	Install bool
}

// How long a plugin may take to load, and to be installed before.
const (
	loadTime    = 30 * time.Second
	installTime = 5 * time.Minute
)

// How many workers there are by default at most, and for how long calls may stay with one before another is used.
const (
	mostWorkers = 4
	fill        = time.Millisecond
)

//go:embed install.py
var installer string

// Server is a plugin in Python. It is safe for concurrent use.
type Server struct {
	*process.Server
	o Options
}

var (
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open begins to start the plugin. Whether it can be loaded is known later: see Settle and Check.
func Open(ctx context.Context, o Options) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("plugin %q: %w", o.Process.Name, err) }
	if o.Shim == nil || o.Interpreter == nil || !filepath.IsAbs(o.Folder) {
		return fail(errors.New("shim, interpreter and an absolute folder are required"))
	}
	if _, err := os.Stat(o.Folder); err != nil {
		return fail(err)
	}
	p := o.Process
	if p.Dir == "" {
		p.Dir = o.Folder
	}
	if p.StartTimeout <= 0 {
		p.StartTimeout = loadTime
	}
	workers := o.Workers
	if workers <= 0 {
		workers = min(runtime.NumCPU(), mostWorkers)
	}
	p.Instances, p.RPC.Fill = max(p.Instances, 1)*workers, fill
	p.Handshake, p.Health = handshake.Config{Mode: handshake.Plain}, ""
	p.Env = append(o.Shim.Env(), p.Env...)
	if o.Install && o.requires() {
		p.StartTimeout = max(p.StartTimeout, installTime)
		p.PassEnv = append(p.PassEnv, installs[:]...)
	}
	p.Prepare = o.command
	s, err := process.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &Server{Server: s, o: o}, nil
}

// Hook implements [coprocess.Server]. A plugin that is known not to load has none.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	h, err := coprocess.NewHook(s, use)
	if err != nil {
		return nil, err
	}
	if err := h.Check(); err != nil {
		return nil, err
	}
	return h, nil
}

// Group implements [coprocess.Server].
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) { return coprocess.Group(s, hooks) }

// Protocol says whose rules hold for the plugin's failures: those of Tyk's plugins, for one that is written for Tyk, whatever
// its calls travel in.
func (s *Server) Protocol() string {
	if s.o.Tyk {
		return string(rpc.Tyk)
	}
	return string(rpc.Native)
}

// Check implements [coprocess.Checker]: a plugin that could not be loaded has no hooks.
func (s *Server) Check(b *coprocess.Binding) error {
	if err := s.Server.LoadError(); err != nil {
		return err
	}
	return s.Server.Check(b)
}

// arguments are the shim's command line.
func (o *Options) arguments() []string {
	args := []string{"-m", "turnbuckle"}
	if o.Tyk {
		args = append(args, "tyk", "--native", "--folder", o.Folder)
		for _, file := range o.Files {
			args = append(args, "--path", file)
		}
	} else {
		args = append(args, "serve", filepath.Join(o.Folder, o.Main))
	}
	args = append(args, "--workers", "1") // each instance runs the hooks itself
	if o.Threads > 0 {
		args = append(args, "--threads", strconv.Itoa(o.Threads))
	}
	if n := o.Process.RPC.MaxSend; n > 0 {
		args = append(args, "--max-message", strconv.Itoa(n))
	}
	return args
}

// requirements is the file that says which packages a plugin needs.
const requirements = "requirements.txt"

// installs are the variables of the gateway's environment that installing goes by.
var installs = [...]string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_FIND_LINKS", "PIP_NO_INDEX",
}

func (o *Options) requires() bool {
	_, err := os.Stat(filepath.Join(o.Folder, requirements))
	return err == nil
}

// command is what is started. A virtual environment is one for an interpreter and a text of requirements.
func (o *Options) command(ctx context.Context) ([]string, error) {
	i, err := o.Interpreter(ctx)
	if errors.Is(err, ErrNoInterpreter) {
		return nil, &process.LoadError{Kind: "interpreter", Message: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	if !o.Install || !o.requires() {
		return append([]string{i.Path}, o.arguments()...), nil
	}
	file := filepath.Join(o.Folder, requirements)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(i.Path + "\x00" + i.Version + "\x00" + string(text)))
	made := filepath.Join(o.Shim.dir, fmt.Sprintf("venv-%x", sum[:8]))
	return append([]string{i.Path, "-I", "-c", installer, made, file}, o.arguments()...), nil
}
