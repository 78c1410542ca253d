package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/foreign"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/peers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/plugins"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
)

//go:embed testdata
var definitions embed.FS

const adminSecret = "bench-secret"

// A fixture is a setup's processes. Stop it.
type fixture struct {
	url     string        // where the load goes
	address string        // of the plugin server
	admin   string        // host:port of the gateway's control listener
	gateway *proc.Process // nil: none
	plugin  *proc.Process // nil: none; where keys are in a Redis, that; of a plugin that ships, its sink

	starts bool // the plugin server, which is its child

	credential string // what requests bear, when all bear the same
	storeFile  string // the embedded store's, empty: none
	redis      *redis.Client
	sink       *sinks.Sink // nil: none; its process is plugin
}

func (f *fixture) stop() {
	for _, p := range []*proc.Process{f.gateway, f.plugin} {
		if p != nil {
			p.Stop()
		}
	}
	if f.redis != nil {
		_ = f.redis.Close() // the server is gone
	}
	if f.sink != nil {
		f.sink.Close()
	}
}

// workshop starts what rows need.
type workshop struct {
	self     string // this program
	binary   string // the gateway's
	dir      string // for sockets, definitions, logs
	upstream string // http://host:port
	redis    string // the redis-server program's path, empty: there is none
	sinks    sinks.Options
	progress func(format string, args ...any)
}

// open starts a setup's processes and checks that a request passes through them as it should.
func (w workshop) open(ctx context.Context, s setup) (f *fixture, err error) {
	f = &fixture{url: w.upstream + "/", credential: plugins.Token}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	dir := filepath.Join(w.dir, s.String())
	if err := os.MkdirAll(filepath.Join(dir, "apis"), 0o755); err != nil {
		return f, err
	}
	if s.protocol != "" {
		if err := w.openPlugin(ctx, f, s, dir); err != nil {
			return f, err
		}
	}
	switch s.kind {
	case baseline:
		return f, w.openBaseline(ctx, f, dir)
	case gateway:
		if err := w.openCallers(ctx, f, s, dir); err != nil {
			return f, err
		}
		if err := w.openSink(ctx, f, s, dir); err != nil {
			return f, err
		}
		if err := w.define(dir, s.definition, 1, f.sinkAddress()); err != nil {
			return f, err
		}
		if err := w.openGateway(ctx, f, dir, "/", s); err != nil {
			return f, err
		}
		return f, verify(ctx, f, s)
	}
	return f, nil
}

func (w workshop) openPlugin(ctx context.Context, f *fixture, s setup, dir string) error {
	if s.language == foreign.Python {
		f.starts = true
		return foreign.PythonPlugin(dir, "default", s.workers)
	}
	f.address = "unix:" + filepath.Join(dir, "plugin.sock")
	accepts := proc.Accepts(f.address)
	if s.transport == "tcp" {
		address, err := proc.FreeAddress()
		if err != nil {
			return err
		}
		f.address, accepts = "tcp://"+address, proc.Accepts(address)
	}
	args := []string{w.self, "plugin", "--protocol", s.protocol}
	var err error
	if s.language == foreign.Node {
		if args, err = foreign.NodeCommand(ctx, dir, w.dir); err != nil {
			return err
		}
	}
	f.plugin, err = proc.Start(ctx, proc.Spec{
		Name:  s.String() + " plugin server",
		Args:  append(args, "--listen", f.address),
		Log:   filepath.Join(dir, "plugin.log"),
		Ready: accepts,
	})
	return err
}

func (w workshop) openBaseline(ctx context.Context, f *fixture, dir string) error {
	address, err := proc.FreeAddress()
	if err != nil {
		return err
	}
	f.url = "http://" + address + "/"
	f.gateway, err = proc.Start(ctx, proc.Spec{
		Name:  "baseline",
		Args:  []string{w.self, "baseline", "--listen", address, "--upstream", w.upstream},
		Log:   filepath.Join(dir, "gateway.log"),
		Ready: answers(f.url, f.credential, setup{}),
	})
	return err
}

// copies is how many copies of a script are different plugins on one route.
const copies = 10

// template returns the definition of that name and the extension of its file.
func template(name string) (text, extension string, err error) {
	data, err := definitions.ReadFile("testdata/" + name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		data, err = definitions.ReadFile("testdata/" + name + ".json") // a classic one
		return string(data), ".json", err
	}
	return string(data), ".yaml", err
}

// define writes count definitions from the template of that name into dir/apis, and all scripts beside them. What they ship
// goes to the sink, a host:port.
func (w workshop) define(dir, name string, count int, sink string) error {
	text, extension, err := template(name)
	if err != nil {
		return err
	}
	for n := range count {
		filled := strings.NewReplacer("${UPSTREAM}", w.upstream, "${SINK}", sink, "${N}", strconv.Itoa(n)).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, "apis", fmt.Sprintf("bench-%d%s", n, extension)), []byte(filled), 0o644); err != nil {
			return err
		}
	}
	return scripts(filepath.Join(dir, "apis"))
}

// scripts writes the scripts into a folder, each once under its name and in numbered copies.
func scripts(dir string) error {
	entries, err := definitions.ReadDir("testdata")
	if err != nil {
		return err
	}
	for _, e := range entries {
		extension := filepath.Ext(e.Name())
		if extension != ".js" && extension != ".lua" {
			continue
		}
		text, err := definitions.ReadFile("testdata/" + e.Name())
		if err != nil {
			return err
		}
		names := []string{e.Name()}
		for n := range copies {
			names = append(names, fmt.Sprintf("%s-%d%s", strings.TrimSuffix(e.Name(), extension), n, extension))
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// openGateway starts ours on the definitions in dir and waits for a good reply on path.
func (w workshop) openGateway(ctx context.Context, f *fixture, dir, path string, s setup) error {
	address, err := proc.FreeAddress()
	if err != nil {
		return err
	}
	if f.admin, err = proc.FreeAddress(); err != nil {
		return err
	}
	f.url = "http://" + address + path
	args := []string{
		w.binary, "serve", "--listen", address, "--apis", filepath.Join(dir, "apis"),
		"--admin-listen", f.admin, "--admin-secret", adminSecret,
	}
	if f.address != "" {
		args = append(args, "--plugin-server", f.address)
	}
	f.gateway, err = proc.Start(ctx, proc.Spec{
		Name:  filepath.Base(dir),
		Args:  args,
		Dir:   dir,
		Log:   filepath.Join(dir, "gateway.log"),
		Ready: answers(f.url, f.credential, s),
	})
	return err
}

// openUpstream starts nginx when there is one, else our own.
func (w workshop) openUpstream(ctx context.Context, nginx string) (*proc.Process, string, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	url := "http://" + address
	spec := proc.Spec{
		Name:  "upstream",
		Args:  []string{w.self, "upstream", "--listen", address},
		Log:   filepath.Join(w.dir, "upstream.log"),
		Ready: answers(url+"/", plugins.Token, setup{}),
	}
	if nginx != "" {
		config := filepath.Join(w.dir, "nginx.conf")
		if err := os.WriteFile(config, []byte(peers.NginxConfig(address, w.dir)), 0o644); err != nil {
			return nil, "", err
		}
		spec.Args = []string{nginx, "-e", "stderr", "-p", w.dir, "-c", config}
	}
	p, err := proc.Start(ctx, spec)
	return p, url, err
}
