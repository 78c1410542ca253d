package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/load"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
)

// options are the flags of bench run.
type options struct {
	gateway, json, profile, transport string
	rows                              *regexp.Regexp
	rounds                            int
	duration                          time.Duration
	install, plain                    bool
}

func parseOptions(flags *flag.FlagSet, args []string) (options, error) {
	var o options
	flags.StringVar(&o.gateway, "gateway", "bin/turnbuckle", "the gateway's `binary`")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each row is measured")
	seconds := flags.Float64("seconds", 2, "how long each row runs in a round; wrk takes whole `seconds`")
	rows := flags.String("rows", "", "measure only rows whose name matches the `regexp`")
	flags.StringVar(&o.transport, "transport", "unix", "how plugin servers are reached: unix or tcp")
	flags.StringVar(&o.json, "json", "", "also write everything measured to this `file`; - is standard output, without the table")
	flags.StringVar(&o.profile, "profile", "", "afterwards take a CPU profile of the gateway under this `row`")
	flags.BoolVar(&o.install, "install", false, "install wrk, nginx, redis-server, rabbitmq-server and nats-server with apt-get if they are missing")
	flags.BoolVar(&o.plain, "builtin", false, "use the load generator and the upstream in Go even if wrk and nginx are there")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("--rows: %w", err)
	}
	if o.transport != "unix" && o.transport != "tcp" {
		return o, fmt.Errorf("--transport %q: want unix or tcp", o.transport)
	}
	o.duration = time.Duration(*seconds * float64(time.Second))
	if o.rounds < 1 || o.duration <= 0 {
		return o, errors.New("--rounds and --seconds must be positive")
	}
	return o, nil
}

// runCourse is bench run.
func runCourse(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parseOptions(flags, args)
	if err != nil {
		return err
	}
	progress := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	dir, err := os.MkdirTemp("", "turnbuckle-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, m, err := o.prepare(ctx, dir, progress)
	if err != nil {
		return err
	}
	defer c.upstream.Stop()
	found := c.run(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	r := newReport(m, c.rows, found)
	if err := o.write(r, stdout); err != nil {
		return err
	}
	if o.profile != "" {
		if err := c.profileRow(ctx, o.profile, stdout); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	if n := len(r.Failures); n > 0 {
		return fmt.Errorf("%d rows could not be measured", n)
	}
	return nil
}

// prepare finds the tools, starts the upstream and picks the rows.
func (o options) prepare(ctx context.Context, dir string, progress func(string, ...any)) (course, machine, error) {
	c := course{rounds: o.rounds, duration: o.duration}
	m := machine{Generator: "built in", Upstream: "built in", Transport: o.transport}
	var err error
	if m.Load, err = proc.Load(); err != nil {
		return c, m, err
	}
	self, err := os.Executable()
	if err != nil {
		return c, m, err
	}
	binary, err := filepath.Abs(o.gateway)
	if err != nil {
		return c, m, err
	}
	c.workshop = workshop{self: self, binary: binary, dir: dir, progress: progress}
	if info, err := os.Stat(binary); err == nil {
		m.Binary = mebibytes(info.Size())
	}
	c.starts = o.rows.MatchString("start")
	c.rows = slices.DeleteFunc(rows(o.transport), func(r row) bool { return !o.rows.MatchString(r.name) })
	if len(c.rows) == 0 && !c.starts {
		return c, m, fmt.Errorf("--rows %s matches no row", o.rows)
	}
	if slices.ContainsFunc(c.rows, func(r row) bool { return r.setup.redis != "" }) {
		c.workshop.redis = find(ctx, o.install, "redis-server", "redis-server", progress)
	}
	ships := func(plugin string) func(row) bool {
		return func(r row) bool { return r.setup.sink == sinks.Up && r.setup.definition == plugin }
	}
	if slices.ContainsFunc(c.rows, ships("amqp")) {
		c.workshop.sinks.RabbitMQ = find(ctx, o.install, sinks.RabbitMQ, "rabbitmq-server", progress)
	}
	if slices.ContainsFunc(c.rows, ships("nats")) {
		c.workshop.sinks.NATS = find(ctx, o.install, "nats-server", "nats-server", progress)
	}
	c.generate = load.Client
	nginx := ""
	if !o.plain {
		if wrk := find(ctx, o.install, "wrk", "wrk", progress); wrk != "" {
			m.Generator = "wrk"
			if c.generate, err = load.Wrk(wrk, dir); err != nil {
				return c, m, err
			}
		}
		if nginx = find(ctx, o.install, "nginx", "nginx-light", progress); nginx != "" {
			m.Upstream = "nginx"
		}
	}
	c.upstream, c.workshop.upstream, err = c.openUpstream(ctx, nginx)
	return c, m, err
}

// find returns the path of a program, after installing its Debian package if that is wanted and can be done, or
// nothing.
func find(ctx context.Context, install bool, name, pkg string, progress func(string, ...any)) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	aptGet, err := exec.LookPath("apt-get")
	if !install || err != nil || os.Geteuid() != 0 {
		progress("%s is missing", name)
		return ""
	}
	progress("installing %s", pkg)
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", pkg}} {
		cmd := exec.CommandContext(ctx, aptGet, args...)
		// RUNLEVEL=1 keeps the package from starting its service.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			progress("apt-get %s: %v: %s", args[0], err, out)
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		progress("%s could not be installed", name)
	}
	return path
}

func (o options) write(r report, stdout io.Writer) error {
	if o.json == "-" {
		return r.writeJSON(stdout)
	}
	if o.json != "" {
		file, err := os.Create(o.json)
		if err != nil {
			return err
		}
		if err := errors.Join(r.writeJSON(file), file.Close()); err != nil {
			return err
		}
	}
	return r.writeText(stdout)
}
