package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
)

//go:embed shop.yaml
var definition string

// stage is everything the demo starts. close ends what open and startPlugin began, however far they came.
type stage struct {
	demo
	base         string // URL of the gateway
	dir          string // sockets, definitions, logs
	upstream     string // URL
	stopUpstream func()
	plugin       *proc.Process
	gateway      *proc.Process
}

func (s *stage) open(ctx context.Context) error {
	var err error
	if err := free(ctx, s.listen); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "turnbuckle-demo-"); err != nil {
		return err
	}
	if s.upstream, s.stopUpstream, err = startUpstream(); err != nil {
		return err
	}
	s.say.started("upstream", s.upstream, 0)
	if err := s.startPlugin(ctx); err != nil {
		return err
	}
	s.say.started("plugin server", s.socket(), s.plugin.Started)
	if err := s.startGateway(ctx); err != nil {
		return err
	}
	s.say.started("gateway", s.base, s.gateway.Started)
	return nil
}

func (s *stage) close() error {
	if s.gateway != nil {
		s.gateway.Stop()
	}
	if s.plugin != nil {
		s.plugin.Stop()
	}
	if s.stopUpstream != nil {
		s.stopUpstream()
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func (s *stage) socket() string { return "unix:" + filepath.Join(s.dir, "plugin.sock") }

// free reports why nobody could listen on the address. Who answers there before we start would be taken for the gateway.
func free(ctx context.Context, address string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken: something listens there already; choose another with LISTEN=host:port", address)
	case err != nil:
		return fmt.Errorf("cannot listen on %s: %w; choose another with LISTEN=host:port", address, err)
	}
	return l.Close()
}

// startUpstream serves a JSON object that tells what of the request arrived.
func startUpstream() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // a client that left
			"from":    "the upstream",
			"path":    r.URL.RequestURI(),
			"caller":  r.Header.Get("X-Shop-Caller"),
			"request": r.Header.Get("X-Shop-Request"),
			"token":   r.Header.Get("Authorization") != "",
		})
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with stop
	}()
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

// startPlugin starts the plugin server, again when one ran before.
func (s *stage) startPlugin(ctx context.Context) error {
	p, err := proc.Start(ctx, proc.Spec{
		Name:  "plugin server",
		Args:  []string{s.demo.plugin, "-listen", s.socket()},
		Log:   filepath.Join(s.dir, "plugin.log"),
		Ready: proc.Accepts(s.socket()),
	})
	if err != nil {
		return built(err)
	}
	s.plugin = p
	return nil
}

func (s *stage) startGateway(ctx context.Context) error {
	apis := filepath.Join(s.dir, "apis")
	if err := os.Mkdir(apis, 0o755); err != nil {
		return err
	}
	text := strings.ReplaceAll(definition, "${UPSTREAM}", s.upstream)
	if err := os.WriteFile(filepath.Join(apis, "shop.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	ready := step{path: "/ready", status: http.StatusOK}
	p, err := proc.Start(ctx, proc.Spec{
		Name: "gateway",
		Args: []string{s.demo.gateway, "serve", "--listen", s.listen, "--apis", apis, "--plugin-server", s.socket()},
		Log:  filepath.Join(s.dir, "gateway.log"),
		Ready: func(ctx context.Context) error {
			reply, body, err := ready.ask(ctx, s.base)
			if err != nil {
				return err
			}
			return ready.check(reply, body)
		},
	})
	if err != nil {
		return built(err)
	}
	s.gateway = p
	return nil
}

// built adds to an error what to do when the program is not there.
func built(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: make demo builds it", err)
	}
	return err
}

// logged is the end of the gateway's log, for an error that says no more than that a reply is wrong.
func (s *stage) logged() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "gateway.log"))
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\nthe end of the gateway's log:\n\t" + strings.Join(lines[max(0, len(lines)-8):], "\n\t")
}
