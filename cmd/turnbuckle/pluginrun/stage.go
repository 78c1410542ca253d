package pluginrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/run"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// stage is a run: a folder for what a gateway wants to find, the upstream, and what the plugin's folder was when it was last
// looked at.
type stage struct {
	env    Env
	o      *options
	tell   *teller
	folder string // the plugin's, absolute
	dir    string // of the gateway, ends with the run
	config json.RawMessage
	echo   *echo // nil: there is an upstream
	plugin *config.Plugin
	open   bool // the stand-in for auth hooks lets everybody in

	seen    files
	outputs map[string]bool // files that builds make, by their names relative to the folder
}

// newStage finds the plugin. The stage must be closed.
func newStage(e Env, o *options, t *teller) (*stage, error) {
	s := &stage{env: e, o: o, tell: t, outputs: map[string]bool{}}
	var err error
	if s.folder, err = filepath.Abs(o.folder); err != nil {
		return nil, err
	}
	if s.folder, err = filepath.EvalSymlinks(s.folder); err != nil {
		return nil, fmt.Errorf("plugin: %w", err)
	}
	if s.plugin, err = s.read(); err != nil {
		return nil, err
	}
	conf, err := text(o.config)
	if err == nil && len(conf) > 0 && !json.Valid(conf) {
		err = errors.New("not JSON")
	}
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	s.config = conf
	if s.dir, err = os.MkdirTemp("", "turnbuckle-run-"); err != nil {
		return nil, err
	}
	staged := s.path("plugins.d", s.plugin.Name)
	t.plugin, t.hide = s.plugin.Name, strings.NewReplacer(staged, s.folder, s.path("apis", s.plugin.Name+".json"), filepath.Join(s.folder, config.PluginFile))
	err = errors.Join(os.Mkdir(s.path("apis"), 0o700), os.Mkdir(s.path("plugins.d"), 0o700), os.Symlink(s.folder, staged))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// close ends the upstream and removes the gateway's folder.
func (s *stage) close() error {
	var err error
	if s.echo != nil {
		err = s.echo.close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// read reads plugin.yaml. What it says may be wrong, for lack of what the build command makes, say.
func (s *stage) read() (*config.Plugin, error) {
	file := filepath.Join(s.folder, config.PluginFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, hint.New(fmt.Errorf("%s holds no plugin: there is no %s", s.folder, config.PluginFile),
			"turnbuckle plugin new begins one; turnbuckle plugin test runs a script without")
	}
	p, problems := config.LoadPlugin(s.folder, s.lookup)
	if err := problems.Err(); err != nil && len(p.Build) == 0 {
		return nil, fmt.Errorf("the plugin is refused:\n%w", err)
	}
	return p, nil
}

// load reads plugin.yaml, builds, and checks what that comes to.
func (s *stage) load(ctx context.Context) (*config.Plugin, error) {
	p, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := s.build(ctx, p.Build); err != nil {
		return nil, err
	}
	p, problems := config.LoadPlugin(s.folder, s.lookup)
	file := filepath.Join(s.folder, config.PluginFile)
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("the plugin is refused:\n%w", err)
	}
	if len(p.Hooks) == 0 {
		return nil, hint.New(fmt.Errorf("%s: there are no hooks in it", file), "list them under hooks, each with name and phase")
	}
	if s.plugin != nil && p.Name != s.plugin.Name {
		return nil, fmt.Errorf("%s: the plugin's name has changed from %s to %s: start again", file, s.plugin.Name, p.Name)
	}
	return p, nil
}

func (s *stage) lookup(name string) (string, bool) {
	for _, pair := range slices.Backward(s.env.Environ) {
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// standIn lets everybody in where a plugin's hooks want somebody.
const standIn = `exports.auth = (x) => x.authenticate("plugin-run", "plugin-run");`

// define writes the definition that calls every hook of the plugin.
func (s *stage) define() error {
	type use struct {
		Hook     string `json:"hook,omitempty"`
		Observer string `json:"observer,omitempty"`
		Server   string `json:"server,omitempty"`
		Script   string `json:"script,omitempty"`
	}
	hooks := map[config.Phase][]use{}
	for _, h := range s.plugin.Hooks {
		hooks[h.Phase] = append(hooks[h.Phase], use{Hook: h.Name, Server: s.plugin.Name})
	}
	s.open = len(hooks[config.PhasePostKeyAuth]) > 0 && len(hooks[config.PhaseAuth]) == 0
	if s.open {
		hooks[config.PhaseAuth] = []use{{Hook: "auth", Script: "stand-in.js"}}
		if err := os.WriteFile(s.path("apis", "stand-in.js"), []byte(standIn), 0o600); err != nil {
			return err
		}
	}
	var observers []use
	for _, o := range s.plugin.Observers {
		observers = append(observers, use{Observer: o.Name, Server: s.plugin.Name})
	}
	d := map[string]any{
		"id": s.plugin.Name, "listen": map[string]string{"path": "/"}, "upstream": map[string]string{"url": s.upstream()},
		"hooks": hooks, "observers": observers,
	}
	if len(s.config) > 0 {
		d["config"] = s.config
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("apis", s.plugin.Name+".json"), text, 0o600)
}

func (s *stage) upstream() string {
	if s.echo != nil {
		return s.echo.url
	}
	return s.o.upstream
}

// settings are the gateway's: whatever the environment says, it finds what this run has made.
func (s *stage) settings() (*settings.Source, *settings.Loaded, error) {
	file := s.path("turnbuckle.yaml")
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		return nil, nil, err
	}
	src := &settings.Source{File: file, Flags: map[string]string{
		"listen.address": s.o.listen, "apis": s.path("apis"), "plugins": s.path("plugins.d"), "policies": s.path("policies"),
		"store.path": s.path("data"), "access_log.enabled": "false", "log.format": "json", "log.level": "info", "watch": "false",
		"strict": "true", "drain_timeout": "2s", "shutdown_delay": "0s",
	}}
	if python := filepath.Join(s.folder, ".venv", "bin", "python"); s.plugin.Runtime == config.Python {
		if _, set := s.lookup("TURNBUCKLE_PYTHON_INTERPRETER"); !set && exists(python) {
			src.Flags["python.interpreter"] = python
		}
	}
	for _, pair := range s.env.Environ {
		if name, _, _ := strings.Cut(pair, "="); name != config.EnvConfigFile && name != config.EnvTykConf {
			src.Environ = append(src.Environ, pair)
		}
	}
	l, err := src.Load()
	if err == nil {
		err = l.Problems.Err()
	}
	return src, l, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// run serves until ctx ends, or what it was started for is done.
func (s *stage) run(ctx context.Context, requests []request) error {
	if s.o.upstream == "" {
		var err error
		if s.echo, err = newEcho(ctx); err != nil {
			return err
		}
	}
	if err := s.firstBuild(ctx); err != nil {
		return err
	}
	if err := s.define(); err != nil {
		return err
	}
	src, l, err := s.settings()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, ended := make(chan *run.Running, 1), make(chan error, 1)
	go func() {
		ended <- run.Serve(ctx, run.Options{
			Source: src, Loaded: l, Stdout: io.Discard, Stderr: s.tell, Version: s.env.Version, Explain: s.tell,
			Serving: func(r *run.Running) { serving <- r },
		})
	}()
	select {
	case err := <-ended:
		return s.legible(err)
	case r := <-serving:
		s.announce(r)
		working, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- s.work(working, r, requests) }()
		select {
		case err = <-done:
		case err = <-ended:
			ended <- nil
			stop()
			err = errors.Join(err, <-done)
		}
		stop()
		cancel()
		return s.legible(errors.Join(err, <-ended))
	}
}

// legible names files as the author knows them.
func (s *stage) legible(err error) error {
	if err == nil {
		return nil
	}
	advice := hint.Of(err)
	if strings.Contains(err.Error(), "definitions are refused") {
		advice = "correct the plugin, or give its hooks a --config that suits its config_schema"
	}
	err = errors.New(s.tell.hide.Replace(strings.Replace(err.Error(), "definitions are refused", "the plugin is refused", 1)))
	if advice != "" {
		return hint.New(err, advice)
	}
	return err
}

// announce says what serves where.
func (s *stage) announce(r *run.Running) {
	e := &servingEvent{
		Event: "serving", Gateway: "http://" + r.Address().String(), Upstream: s.upstream(), Sample: s.echo != nil,
		Plugin: s.plugin.Name, Version: s.plugin.Version, Folder: s.folder, Open: s.open,
	}
	for _, phase := range config.Phases() {
		for _, h := range s.plugin.Hooks {
			if h.Phase == phase {
				e.Hooks = append(e.Hooks, namedHook{string(phase), h.Name})
			}
		}
	}
	s.tell.serving(e)
	if r.Dead() > 0 && s.plugin.Server.Address != "" {
		s.tell.note("WARN", "nobody takes calls at "+cmp.Or(s.plugin.Server.Address, s.plugin.Name)+" yet: start the plugin's server there")
	}
}

// work sends the requests, or follows changes until ctx ends or, with --once, the first request has been told of.
func (s *stage) work(ctx context.Context, r *run.Running, requests []request) error {
	if len(requests) > 0 {
		s.awaitReady(ctx, r)
		for i := range requests {
			before, _ := s.tell.exchanges()
			if err := requests[i].send(ctx, "http://"+r.Address().String()); err != nil {
				return err
			}
			s.awaitTold(ctx, before)
		}
		return ctx.Err()
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	if s.o.once {
		go func() {
			select {
			case <-s.tell.seen:
				stop()
			case <-following.Done():
			}
		}()
	}
	return s.follow(following, r)
}

// readyTime is how long requests wait for a plugin server that takes no calls yet.
const readyTime = 10 * time.Second

func (s *stage) awaitReady(ctx context.Context, r *run.Running) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for r.Dead() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-s.tell.gone: // it does not get ready by itself
			return
		case <-ctx.Done():
		}
	}
}

// awaitTold waits until one exchange more than before has been told of, which comes just after its reply.
func (s *stage) awaitTold(ctx context.Context, before int) {
	ctx, cancel := context.WithTimeout(ctx, replyTime)
	defer cancel()
	for {
		n, more := s.tell.exchanges()
		if n > before {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}
