// Package pluginrun is `turnbuckle plugin run`: a gateway with one plugin in front of a sample upstream, for who writes the
// plugin. It needs no settings and no definitions, follows changes of the plugin's files, and prints for each request what
// each hook made of it.
package pluginrun

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// ErrFailed says that a hook failed, which has been shown.
var ErrFailed = errors.New("a hook failed")

// Env is the world the command runs in. All of it is required.
type Env struct {
	Environ        []string // in the form of os.Environ
	Stdout, Stderr io.Writer
	Version        string
}

// options are what the flags say.
type options struct {
	folder   string
	listen   string
	upstream string
	config   string
	requests []string
	headers  []string
	body     string
	once     bool
	json     bool
}

// defaultListen is where clients come when nothing is said.
const defaultListen = "127.0.0.1:8080"

// Command returns the command.
func Command(e Env) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run [FOLDER]",
		Short: "Run a plugin behind a gateway of its own, and print what each hook changes",
		Long: `Run starts a gateway with the plugin in FOLDER (default: here) in front of an upstream that replies with the request it
got. It needs no settings and no definitions: all hooks that plugin.yaml lists are called, in its order, for every path. For
each request it prints what each hook changed, logged and counted, how long that took, and who answered.

It follows changes of the plugin's files: scripts are read again; for a server that plugin.yaml has the gateway start, the
command under build, if there is one, is run and the server is replaced, without failing a request. A server that plugin.yaml
names by its address is yours to start, before or after.

Where hooks of post_key_auth stand without one of auth, everybody is let in. Data is kept until the end of the run. Variables
of the environment hold as with serve (see "turnbuckle settings").

It ends with Ctrl-C, after the requests of --request, or after the first request with --once; then with status 1 if a hook
failed. With --json each line of the output is an object: "event" is serving, exchange, change, build or log.`,
		Example: `  turnbuckle plugin run
  turnbuckle plugin run ./greeter --listen 127.0.0.1:9090 --upstream http://127.0.0.1:3000
  turnbuckle plugin run ./greeter --request 'GET /orders?page=2' -H 'Authorization: Bearer x'
  turnbuckle plugin run ./greeter --request 'POST /orders' -d '{"item": 7}' --config '{"greeting": "hi"}' --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.folder = "."
			if len(args) > 0 {
				o.folder = args[0]
			}
			if !cmd.Flags().Changed("listen") && len(o.requests) > 0 {
				o.listen = "127.0.0.1:0"
			}
			return start(cmd.Context(), e, &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", defaultListen, "address that clients reach, `HOST:PORT`; any free port with --request")
	f.StringVar(&o.upstream, "upstream", "", "forward to this `URL` (default: an upstream that replies with the request)")
	f.StringVar(&o.config, "config", "", "configuration of the hooks as `JSON`, or @FILE (default none)")
	f.StringArrayVar(&o.requests, "request", nil, "send `'METHOD /path'` and end; may be repeated")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "`'Name: value'` to send with each --request; may be repeated")
	f.StringVarP(&o.body, "data", "d", "", "`BODY` to send with each --request, or @FILE")
	f.BoolVar(&o.once, "once", false, "end after the first request (default false)")
	f.BoolVar(&o.json, "json", false, "print JSON, one object a line (default false)")
	return cmd
}

// start runs the plugin, and says with its status whether hooks failed.
func start(ctx context.Context, e Env, o *options) (err error) {
	requests, err := o.parse()
	if err != nil {
		return err
	}
	t := newTeller(e.Stdout, o.json)
	s, err := newStage(e, o, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.run(ctx, requests); err != nil {
		return err
	}
	if (len(requests) > 0 || o.once) && t.failed() {
		return ErrFailed
	}
	return t.err()
}
