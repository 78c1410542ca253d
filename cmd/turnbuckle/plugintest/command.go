// Package plugintest is `turnbuckle plugin test`: it runs the hooks of a script on sample exchanges, without a gateway,
// shows what they did, and holds it against what the samples expect.
package plugintest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// ErrFailed says that an exchange was not as expected, which has been shown.
var ErrFailed = errors.New("not as expected")

// flags are those of the command.
type flags struct {
	method, path, body, config, sample, client, session string
	headers, hooks, prelude, allow                      []string
	tyk, noFetch, asJSON, fresh                         bool
	timeout                                             time.Duration
	times                                               int
}

// Command returns the command. What the scripts write while they are loaded goes to stderr.
func Command(stdout, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Run the hooks of a script on sample exchanges and show what they do",
		Long: `Test runs the hooks of a script in JavaScript or Lua on sample exchanges, without a gateway and within the same bounds,
and shows for each hook how it ended, what it logged, counted and changed, and what it cost.

Without --sample there is one exchange, which the flags change. A file of samples, YAML or JSON, has several:

  config: {greeting: hello}              # of the hooks
  hooks: [auth, "sign:post"]             # NAME or NAME:PHASE, or NAME:virtual; without: all that the script exports
  store: {visits: "3"}                   # what the plugin's store holds before the first exchange
  keys: {a-key: {rate: 10, per: 1}}      # for Tyk's scripts: sessions by keys
  exchanges:
    - name: a known caller
      request: {method: POST, path: "/orders?page=2", headers: {Authorization: t0ken}, body: {a: 1}, client: 192.0.2.7}
      reply: {status: 200, headers: {Content-Type: text/plain}, body: text}      # the upstream's
      session: {key_id: k, alias: ada}   # who calls, before the first hook
      values: {plan: gold}               # what earlier hooks left
      expect:                            # only what it says counts
        outcome: continued               # or answered, refused, failed; of the hook that ends the exchange
        hook: auth                       # which one that is
        error: unknown key               # a part of what a refusal or failure says
        request: {path: /v2/orders, headers: {X-Client: 192.0.2.7, Authorization: null}, body: {a: 1, b: 2}}
        reply: {status: 200, headers: {X-Signed: [one, two]}}
        session: {alias: ada}
        values: {plan: gold}
        log: [greeted]
        counters: {greeted: 1}

Headers are values, lists of values, or null for none; a body is text, or JSON as it stands. The exchanges of a file share
the store and the keys, in their order. The exit code is 1 when an expectation does not come true, when a hook fails that
is not expected to, and when the script does not load.`,
		Example: `  turnbuckle plugin test hello.js
  turnbuckle plugin test hello.js --path '/orders?page=2' -H 'Authorization: t0ken' --config '{"greeting": "hello"}'
  turnbuckle plugin test hello.lua --hook pre --hook sign:post --body '{"a": 1}'
  turnbuckle plugin test hello.js --sample samples.yaml
  turnbuckle plugin test middleware.js --tyk --hook ipLimit:pre
  turnbuckle plugin test hello.js --json | jq '.exchanges[].hooks[] | {hook, outcome}'`,
		Args: cobra.ExactArgs(1),
	}
	f := &flags{}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := f.run(cmd.Context(), args[0], cmd.Flags().Changed, stderr)
		if err != nil {
			return err
		}
		if f.asJSON {
			err = r.writeJSON(stdout)
		} else {
			err = r.writeText(stdout)
		}
		if err == nil && !r.OK {
			err = ErrFailed
		}
		return err
	}
	return cmd
}

func (f *flags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.sample, "sample", "", "`FILE` of exchanges, in place of the built-in one")
	flags.StringArrayVar(&f.hooks, "hook", nil, "hook to run, `NAME` or NAME:PHASE, of Tyk's JavaScript also NAME:virtual, repeated for several (default all, in the order of phases)")
	flags.StringVarP(&f.method, "method", "X", "", "`METHOD` of the request (default GET, with --body POST)")
	flags.StringVar(&f.path, "path", "", "`PATH` of the request, and query (default /orders/42?page=2)")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "`'NAME: VALUE'` of the request, in place of the built-in one of that name, repeated for several")
	flags.StringVarP(&f.body, "body", "d", "", "`TEXT` of the request's body, @FILE for a file's (default none)")
	flags.StringVar(&f.client, "client", "", "`ADDRESS` of the client (default 192.0.2.1)")
	flags.StringVar(&f.session, "session", "", "who calls, before the first hook, as the `JSON` of a session (default nobody)")
	flags.StringVar(&f.config, "config", "", "configuration of the hooks, `JSON`; with --sample of exchanges that have none (default none)")
	flags.BoolVar(&f.tyk, "tyk", false, "the script is written for Tyk (default: found out)")
	flags.StringSliceVar(&f.prelude, "prelude", nil, "`FILES` that are run before the script, comma-separated or repeated")
	flags.StringSliceVar(&f.allow, "allow", nil, "`LIBRARIES` that a Lua script may use, of "+strings.Join(config.LuaLibraries(), ", ")+" (default none)")
	flags.BoolVar(&f.noFetch, "no-fetch", false, "requests that the script makes fail")
	flags.BoolVar(&f.fresh, "isolate", false, "each call has an interpreter of its own, as with isolate: call")
	flags.DurationVar(&f.timeout, "timeout", 0, "`TIME` of one call (default 1s, for Tyk's scripts 5s)")
	flags.IntVar(&f.times, "times", 1, "run each exchange `N` times; the cost shown is then the mean of all but the first")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.MarkFlagsMutuallyExclusive("sample", "method")
	cmd.MarkFlagsMutuallyExclusive("sample", "path")
	cmd.MarkFlagsMutuallyExclusive("sample", "header")
	cmd.MarkFlagsMutuallyExclusive("sample", "body")
	cmd.MarkFlagsMutuallyExclusive("sample", "client")
	cmd.MarkFlagsMutuallyExclusive("sample", "session")
}

// samples are the file's, or the built-in exchange as the flags have it.
func (f *flags) samples() (*samples, error) {
	if f.config != "" && !json.Valid([]byte(f.config)) {
		return nil, fmt.Errorf("--config: %q is not JSON", f.config)
	}
	if f.sample != "" {
		s, err := readSamples(f.sample)
		if err != nil || f.config == "" {
			return s, err
		}
		for i := range s.Exchanges {
			if s.Exchanges[i].Config == nil {
				s.Exchanges[i].Config = json.RawMessage(f.config)
			}
		}
		return s, nil
	}
	one := builtIn()
	q := &one.Request
	q.Method, q.Path, q.Client = f.method, cmp.Or(f.path, q.Path), f.client
	for _, text := range f.headers {
		name, _, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("--header: %q is no header: write 'Name: value'", text)
		}
		q.Headers = slices.DeleteFunc(q.Headers, func(l line) bool { return sdk.EqualFold(l.name, strings.TrimSpace(name)) })
	}
	for _, text := range f.headers {
		name, value, _ := strings.Cut(text, ":")
		q.Headers = append(q.Headers, line{strings.TrimSpace(name), []string{strings.TrimSpace(value)}})
	}
	if f.body != "" {
		q.Body = body{said: true, text: []byte(f.body)}
		if file, ok := strings.CutPrefix(f.body, "@"); ok {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			q.Body.text = data
		}
	}
	if f.session != "" {
		if !json.Valid([]byte(f.session)) {
			return nil, fmt.Errorf("--session: %q is not JSON", f.session)
		}
		one.Session = json.RawMessage(f.session)
	}
	if f.config != "" {
		one.Config = json.RawMessage(f.config)
	}
	if err := one.possible(); err != nil {
		return nil, err
	}
	one.complete()
	return &samples{Exchanges: []sample{one}}, nil
}

// run runs the script on its exchanges. said reports whether a flag was given.
func (f *flags) run(ctx context.Context, file string, said func(string) bool, stderr io.Writer) (_ *report, err error) {
	if f.times < 1 || f.timeout < 0 {
		return nil, errors.New("--times and --timeout must be positive")
	}
	for _, library := range f.allow {
		if !slices.Contains(config.LuaLibraries(), library) {
			return nil, fmt.Errorf("--allow: there is no library %q: want %s", library, strings.Join(config.LuaLibraries(), ", "))
		}
	}
	s, err := readSource(file, f.tyk, said("tyk"))
	if err != nil {
		return nil, err
	}
	all, err := f.samples()
	if err != nil {
		return nil, err
	}
	state := &storage{ctx: ctx}
	defer func() { err = errors.Join(err, state.close()) }()
	services, err := f.services(ctx, s, all, state, stderr)
	if err != nil {
		return nil, err
	}
	limits := script.Limits{Time: f.timeout}
	if limits.Time == 0 {
		limits.Time = time.Second
		if s.tyk {
			limits.Time = 5 * time.Second
		}
	}
	o := options{services: services, limits: limits, prelude: f.prelude, allow: f.allow, fresh: f.fresh}
	for i := range all.Exchanges {
		o.sessions = o.sessions || len(all.Exchanges[i].Session) > 0
	}
	plugin, err := s.open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plugin.Close()) }()
	r := &runner{plugin: plugin, route: all.Route.made(), timeout: limits.Time, times: f.times}
	return f.exchanges(ctx, s, plugin.about, all, r)
}

func (f *flags) exchanges(ctx context.Context, s *source, about *script.About, all *samples, r *runner) (*report, error) {
	found := &report{Script: s.name, Language: s.language, Tyk: s.tyk, OK: true}
	for i := range all.Exchanges {
		e := &all.Exchanges[i]
		names := e.Hooks
		if len(f.hooks) > 0 {
			names = f.hooks
		}
		hooks, err := s.choose(about, names)
		if err != nil {
			return nil, err
		}
		one, err := r.exchange(ctx, e, hooks)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		e.Expect.check(one)
		found.OK = found.OK && one.OK
		found.Exchanges = append(found.Exchanges, one)
	}
	return found, nil
}

// services are what the script may use: those of a gateway, on a store that is there for this run.
func (f *flags) services(ctx context.Context, s *source, all *samples, state *storage, stderr io.Writer) (script.Services, error) {
	held, err := newKeys(all.Keys)
	if err != nil {
		return script.Services{}, err
	}
	own := script.NewStore(state.open, s.name, nil)
	for _, key := range sortedKeys(all.Store) {
		if err := own.Set(ctx, key, []byte(all.Store[key]), 0); err != nil {
			return script.Services{}, fmt.Errorf("store: %q: %w", key, err)
		}
	}
	services := script.Services{Store: own, Keys: held, Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))}
	if !f.noFetch {
		services.HTTP = script.NewHTTP(&http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}, script.HTTPLimits{})
	}
	return services, nil
}

func (r route) made() sdk.Route {
	return sdk.Route{
		ID: cmp.Or(r.ID, "test"), Name: cmp.Or(r.Name, r.ID, "test"), Org: r.Org, ListenPath: cmp.Or(r.ListenPath, "/"),
	}
}
