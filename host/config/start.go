package config

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// PluginStart is how the gateway starts a plugin server and looks after it. Nothing of it may be said about a server at
// an address.
type PluginStart struct {
	// Command is the program and its arguments; the program is looked for in PATH when it has no slash, else it is a path
	// relative to the file's folder. In plugin.yaml it lies in the plugin's folder. Absolute after loading.
	Command []string `yaml:"command"`
	// Instances is how many processes run at a time. Default 1.
	Instances int `yaml:"instances,positive"`
	// Dir is where they work: by default, and relative to, the file's folder. Absolute after loading.
	Dir string `yaml:"dir"`
	// Env is added to their environment, and PassEnv names what they get of the gateway's beyond PATH, HOME, LANG, LC_ALL,
	// LC_CTYPE, TZ and TMPDIR; nothing else of it is passed on.
	Env     map[string]string `yaml:"env"`
	PassEnv []string          `yaml:"pass_env"`
	// User runs them: a name, UID or UID:GID. Only root may start as somebody else. Default: who runs the gateway.
	User   string      `yaml:"user"`
	Limits StartLimits `yaml:"limits"`
	// StartTimeout bounds a start, until calls are taken; StopTimeout the way from being told to end until being killed;
	// DrainTimeout the calls of a process that another one replaces. Defaults 10 s, 5 s, 30 s.
	StartTimeout time.Duration  `yaml:"start_timeout,positive"`
	StopTimeout  time.Duration  `yaml:"stop_timeout,positive"`
	DrainTimeout time.Duration  `yaml:"drain_timeout,positive"`
	HealthCheck  StartHealth    `yaml:"health_check"`
	Restart      StartRestart   `yaml:"restart"`
	Output       StartOutput    `yaml:"output"`
	Handshake    StartHandshake `yaml:"handshake"`

	// Folder is the plugin's folder, of which a change of code is one of the server; empty for servers of the settings.
	Folder string `yaml:"-"`
	// RunDir is that of the settings.
	RunDir string `yaml:"-"`
	// Python is what is started of a plugin in Python, in place of Command; nil for any other.
	Python *PythonStart `yaml:"-"`
}

// StartLimits bound a process with all that it starts; 0 is no limit.
type StartLimits struct {
	// Memory is what they may use together. Files is how many each may have open, Processes how many there may be.
	Memory    Size `yaml:"memory,positive"`
	Files     int  `yaml:"files,positive"`
	Processes int  `yaml:"processes,positive"`
}

// StartHealth says how the health of a process is looked after.
type StartHealth struct {
	// Every is the time between checks, Timeout bounds one, and as many as Misses that fail in a row have the process
	// replaced. Defaults 3 s, 1 s, 3.
	Every   time.Duration `yaml:"every,positive"`
	Timeout time.Duration `yaml:"timeout,positive"`
	Misses  int           `yaml:"misses,positive"`
}

// StartRestart says when a process that ended is started again.
type StartRestart struct {
	// Backoff is the wait after the second crash in a row, which doubles with each up to MaxBackoff; after the first there
	// is none. What ran for Stable begins anew. Defaults 200 ms, 30 s, 60 s.
	Backoff    time.Duration `yaml:"backoff,positive"`
	MaxBackoff time.Duration `yaml:"max_backoff,positive"`
	Stable     time.Duration `yaml:"stable,positive"`
	// As many as Crashes within Window put an instance into quarantine, for Quarantine, which doubles with each trial that
	// fails up to MaxQuarantine. Defaults 5, 60 s, 60 s, 10 min.
	Crashes       int           `yaml:"crashes,positive"`
	Window        time.Duration `yaml:"window,positive"`
	Quarantine    time.Duration `yaml:"quarantine,positive"`
	MaxQuarantine time.Duration `yaml:"max_quarantine,positive"`
}

// StartOutput bounds what is read of what a process writes.
type StartOutput struct {
	// Line is how much of a line is kept, Rate how much is logged in a second, Lines how many lines are kept for the record
	// of a crash. Defaults 8 KiB, 1 MiB, 50.
	Line  Size `yaml:"line,positive"`
	Rate  Size `yaml:"rate,positive"`
	Lines int  `yaml:"lines,positive"`
}

// StartHandshake is how a process says where it listens.
type StartHandshake struct {
	// Mode defaults to HandshakeAuto.
	Mode HandshakeMode `yaml:"mode"`
	// TLS defaults to HandshakeTLSOffered.
	TLS HandshakeTLS `yaml:"tls"`
	// CookieKey, CookieValue and Versions are those of a server on hashicorp/go-plugin that was written for another host:
	// its HandshakeConfig, and the versions of its plugins.
	CookieKey   string `yaml:"cookie_key"`
	CookieValue string `yaml:"cookie_value"`
	Versions    []int  `yaml:"versions"`
	// TCP accepts a port on the loopback interface; else the process listens on a socket in a folder of its own.
	TCP bool `yaml:"tcp"`
}

// HandshakeMode says which servers are expected.
type HandshakeMode string

// The handshakes: whichever comes first, go-plugin's alone, or none: then the server listens where TURNBUCKLE_LISTEN says.
const (
	HandshakeAuto     HandshakeMode = "auto"
	HandshakeGoPlugin HandshakeMode = "goplugin"
	HandshakePlain    HandshakeMode = "plain"
)

// UnmarshalText accepts "auto", "goplugin" and "plain".
func (m *HandshakeMode) UnmarshalText(text []byte) error {
	return oneOf(m, text, HandshakeAuto, HandshakeGoPlugin, HandshakePlain)
}

// HandshakeTLS says whether gateway and process speak mutual TLS, with certificates made for the one start.
type HandshakeTLS string

// TLS with a process: if it can, or it is not used, or never. A server without handshake has none.
const (
	HandshakeTLSOffered  HandshakeTLS = "offered"
	HandshakeTLSRequired HandshakeTLS = "required"
	HandshakeTLSOff      HandshakeTLS = "off"
)

// UnmarshalText accepts "offered", "required" and "off".
func (t *HandshakeTLS) UnmarshalText(text []byte) error {
	return oneOf(t, text, HandshakeTLSOffered, HandshakeTLSRequired, HandshakeTLSOff)
}

// DefaultStart is how a server is started about which nothing is said.
func DefaultStart() PluginStart {
	return PluginStart{
		Instances: 1, StartTimeout: 10 * time.Second, StopTimeout: 5 * time.Second, DrainTimeout: 30 * time.Second,
		HealthCheck: StartHealth{Every: 3 * time.Second, Timeout: time.Second, Misses: 3},
		Restart: StartRestart{
			Backoff: 200 * time.Millisecond, MaxBackoff: 30 * time.Second, Stable: time.Minute,
			Crashes: 5, Window: time.Minute, Quarantine: time.Minute, MaxQuarantine: 10 * time.Minute,
		},
		Output:    StartOutput{Line: 8 << 10, Rate: 1 << 20, Lines: 50},
		Handshake: StartHandshake{Mode: HandshakeAuto, TLS: HandshakeTLSOffered},
	}
}

// envName is what POSIX has for names of environment variables, lower case included.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// pluginStart checks how a server is started, or that nothing is said of that about one at an address.
func (v *validator) pluginStart(path string, p *PluginServer) {
	s := &p.Start
	if len(s.Command) == 0 {
		nothing := DefaultStart()
		nothing.Folder = s.Folder
		if s.Command == nil && !reflect.DeepEqual(*s, nothing) {
			v.errorf(path, "instances, limits, restart and the like are of servers that the gateway starts: they need a command")
		}
		return
	}
	if s.Command[0] == "" {
		v.errorf(document.Index(path+".command", 0), "the program is required")
	}
	for i, arg := range s.Command {
		if strings.Contains(arg, "\x00") {
			v.errorf(document.Index(path+".command", i), "must not have NUL characters")
		}
	}
	if p.TLS != (PluginTLS{}) {
		v.errorf(path+".tls", "is for servers at an address: with a command, handshake.tls is")
	}
	v.started(path, s)
	v.handshake(path+".handshake", &s.Handshake)
}

// started checks how a process is looked after, whatever it is.
func (v *validator) started(path string, s *PluginStart) {
	const maxInstances = 256
	if s.Instances > maxInstances {
		v.errorf(path+".instances", "must not be more than %d", maxInstances)
	}
	for _, name := range sortedKeys(s.Env) {
		if !envName.MatchString(name) || strings.Contains(s.Env[name], "\x00") {
			v.errorf(document.Join(path+".env", name), "not the name of an environment variable with a value without NUL characters")
		}
	}
	for i, name := range s.PassEnv {
		if !envName.MatchString(name) {
			v.errorf(document.Index(path+".pass_env", i), "%q is not the name of an environment variable", name)
		}
	}
	if hasControl(s.User) || strings.Contains(s.User, " ") {
		v.errorf(path+".user", "%q is no user: write a name, UID or UID:GID", s.User)
	}
}

func (v *validator) handshake(path string, h *StartHandshake) {
	if h.Mode == HandshakePlain && h.TLS == HandshakeTLSRequired {
		v.errorf(path+".tls", "a server without handshake has no certificates: TLS cannot be required of it")
	}
	if (h.CookieKey == "") != (h.CookieValue == "") {
		v.errorf(path+".cookie_key", "cookie_key and cookie_value belong together")
	}
	if h.CookieKey != "" && !envName.MatchString(h.CookieKey) {
		v.errorf(path+".cookie_key", "%q is not the name of an environment variable", h.CookieKey)
	}
	if hasControl(h.CookieValue) {
		v.errorf(path+".cookie_value", "must not have control characters")
	}
	for i, n := range h.Versions {
		if n < 0 {
			v.errorf(document.Index(path+".versions", i), "must not be negative")
		}
	}
}

// files makes the paths absolute. The program, if it is a file, must be there.
func (s *PluginStart) files(path string, at func(path string) *fileFields) {
	if len(s.Command) == 0 {
		return
	}
	if name := s.Command[0]; strings.Contains(name, "/") {
		at(path+".command").program(path+".command", &s.Command[0])
	}
	f := at(path + ".dir")
	if s.Dir == "" {
		s.Dir = f.folder.dir
		return
	}
	f.directory(path+".dir", &s.Dir)
}

// program turns the path of a file that can be executed into an absolute one. One that its build makes may not be there
// yet.
func (f *fileFields) program(path string, value *string) {
	name := *value
	if _, err := f.folder.file(name); f.built && errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(name) {
		*value = f.folder.join(name)
		f.warnf(path, "%q is not there yet: build makes it", name)
		return
	}
	f.file(path, value)
	if info, err := os.Stat(*value); err == nil && info.Mode()&0o111 == 0 {
		f.errorf(path, "cannot use %q: it is not executable (chmod +x %s)", name, filepath.Base(cmp.Or(*value, name)))
	}
}
