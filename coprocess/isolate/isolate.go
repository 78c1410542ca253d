// Package isolate runs scripts in processes of their own: this same binary, started and watched by package process, has
// the script's runtime in it and serves its hooks. A script that eats memory or processor there harms itself alone.
//
// Scripts are those against our own interface, in JavaScript and Lua. What they can use is what they can use inside the
// gateway: the store by a loan (package storehttp), and requests, which the process makes itself.
package isolate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Arg is the first argument that makes this binary a script's process.
const Arg = "__script"

// Spec is what runs there.
type Spec struct {
	Name     string          `json:"name"`
	Language string          `json:"language"` // js or lua
	Main     []script.Source `json:"main"`
	Dir      string          `json:"dir,omitempty"` // what require may read; "": nothing
	Fresh    bool            `json:"fresh,omitempty"`
	Allow    []string        `json:"allow,omitempty"` // libraries of Lua
	Limits   script.Limits   `json:"limits"`
	HTTP     HTTP            `json:"http"`
}

// HTTP says how the script's requests are made.
type HTTP struct {
	Limits   script.HTTPLimits `json:"limits"`
	Insecure bool              `json:"insecure,omitempty"` // any certificate will do
}

// Server is a script in a process of its own. It is safe for concurrent use.
type Server struct {
	*process.Server
	dir      string
	counters *script.Counters
}

var (
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open begins to start the script's process. o says how it is looked after; its Command, Handshake and Health are this
// package's. Whether the script can be loaded is known later: see Settle and Check. Calls are counted in counters.
func Open(ctx context.Context, o process.Options, spec *Spec, counters *script.Counters) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("plugin %q: %w", spec.Name, err) }
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fail(err)
	}
	run := o.RunDir
	if run == "" {
		run = os.TempDir()
	}
	s := &Server{dir: filepath.Join(run, "tb-script-"+rand.Text()[:12]), counters: counters}
	file := filepath.Join(s.dir, "script.json")
	if err := errors.Join(os.Mkdir(s.dir, 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		return fail(errors.Join(err, os.RemoveAll(s.dir)))
	}
	o.Name, o.Command = spec.Name, []string{self, Arg, file}
	o.Handshake, o.Health = handshake.Config{Mode: handshake.Plain}, ""
	o.Remains = append(o.Remains, s.dir)
	o.PassEnv = append(o.PassEnv, "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy") // as inside the gateway
	if s.Server, err = process.Open(ctx, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// Hook implements [coprocess.Server]. A script that is known not to load has none.
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

// Protocol implements [coprocess.Dispatcher].
func (s *Server) Protocol() string { return "native" }

// Check implements [coprocess.Checker]: a script that could not be loaded has no hooks.
func (s *Server) Check(b *coprocess.Binding) error {
	if err := s.LoadError(); err != nil {
		return err
	}
	return s.Server.Check(b)
}

// Dispatch implements [coprocess.Dispatcher].
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	s.counters.Calls.Add(1)
	err := s.Server.Dispatch(ctx, b, x)
	refusal := (*sdk.Error)(nil)
	switch {
	case err == nil, errors.As(err, &refusal), errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded):
		s.counters.Timeouts.Add(1)
		s.counters.Errors.Add(1)
	default:
		s.counters.Errors.Add(1)
	}
	return err
}

// Quarantined reports whether a process is not started for now, for those before it ended too often.
func (s *Server) Quarantined() bool {
	for _, i := range s.Status().Instances {
		if i.State == process.StateQuarantined {
			return true
		}
	}
	return false
}

// Close ends the process, and waits until nothing of it is left.
func (s *Server) Close() error { return errors.Join(s.Server.Close(), os.RemoveAll(s.dir)) }
