package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// The bounds of a server about which [Options] say nothing.
const (
	DefaultMaxMessage = 4 << 20 // what hosts take unless told otherwise
	DefaultCredit     = 1024
	DefaultDrain      = 10 * time.Second
	DefaultHandover   = time.Second
)

// Options change what a server does by default. The zero value is good.
type Options struct {
	// Logger takes what goes wrong: panics with their stacks, streams that end in an error, observers that fail.
	// Nil: slog's default.
	Logger *slog.Logger
	// TLS, when not nil, is what the server speaks.
	TLS *tls.Config
	// Drain bounds how long calls may take to finish once the server stops. 0: DefaultDrain.
	Drain time.Duration
	// Handover is how much of that a server which stops goes on serving the streams it has, unless their hosts leave
	// sooner: they connect to the address anew and move to whoever has taken it over. At most half of Drain. 0:
	// DefaultHandover.
	Handover time.Duration
	// MaxMessage is the largest message taken, and the largest reply sent, in bytes; at least 4 KiB. 0:
	// DefaultMaxMessage.
	MaxMessage int
	// Credit is how many calls a host may have outstanding on one stream of the native protocol, and how many on one
	// connection of Tyk's. Calls beyond it are answered overloaded. 0: DefaultCredit.
	Credit int

	hosted bool // a host started the process, and may stop it
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Drain == 0 {
		o.Drain = DefaultDrain
	}
	if o.Handover == 0 {
		o.Handover = DefaultHandover
	}
	o.Handover = min(o.Handover, o.Drain/2)
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.Credit == 0 {
		o.Credit = DefaultCredit
	}
	return o
}

// Server serves one plugin over both protocols. Its methods are safe for concurrent use.
type Server struct {
	plugin    *sdk.Plugin
	opts      Options
	grpc      *grpc.Server
	observers *observers
	frames    sync.Pool // of *[]byte, see framePool
	exchanges sync.Pool // of *sdk.Exchange, for Tyk's protocol

	mu       sync.Mutex
	serving  bool
	sessions map[*session]struct{}
	quit     chan struct{}  // closed by Shutdown
	draining chan struct{}  // closed when the drain begins
	stopped  chan struct{}  // closed when Serve has returned
	workers  sync.WaitGroup // goroutines of sessions, which may outlive their stream
}

// New makes a server for p, which is not to be changed any more. It reports what makes p or the options unusable.
func New(p *sdk.Plugin, o Options) (*Server, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if o.Drain < 0 || o.Handover < 0 || o.MaxMessage < 0 || o.Credit < 0 {
		return nil, fmt.Errorf("plugin %q: drain, handover, max message and credit must not be negative", p.Name)
	}
	o = o.withDefaults()
	if o.MaxMessage < minFrame {
		return nil, fmt.Errorf("plugin %q: max message of %d bytes: want at least %d", p.Name, o.MaxMessage, minFrame)
	}
	s := &Server{
		plugin: p, opts: o, sessions: map[*session]struct{}{},
		quit: make(chan struct{}), draining: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.observers = newObservers(p.Observers, o.Logger)
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(o.MaxMessage),
		grpc.MaxSendMsgSize(o.MaxMessage),
		grpc.MaxConcurrentStreams(uint32(o.Credit)),
		// Streams carry many small frames under load: larger windows save their updates.
		grpc.InitialWindowSize(1 << 20),
		grpc.InitialConnWindowSize(4 << 20),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	s.grpc.RegisterService(dispatcherDesc(), s)
	s.grpc.RegisterService(pluginDesc(), s)
	health := &healthService{draining: s.draining, services: []string{"", pluginService, dispatcherService}}
	if o.hosted {
		health.services = append(health.services, handshake.HealthService)
		s.grpc.RegisterService(controllerDesc(), s)
	}
	healthpb.RegisterHealthServer(s.grpc, health)
	return s, nil
}

// Serve serves on l, which it closes, until ctx ends or Shutdown is called. It then drains: it listens no more and sends
// GOAWAY, after Options.Handover tells hosts to send no more, and gives calls Options.Drain in all to finish. It returns nil when all did, and an error when some were cut or the listener
// failed. The plugin's Close is called once nothing calls the plugin any more. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.begin(); err != nil {
		return errors.Join(err, l.Close())
	}
	defer close(s.stopped)
	s.observers.start(context.WithoutCancel(ctx)) // they have until the drain's end
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(l) }()

	var err error
	select {
	case err = <-failed:
		failed = nil
	case <-ctx.Done():
	case <-s.quit:
	}
	cut := s.drain()
	if failed != nil {
		err = <-failed
	}
	cut = errors.Join(cut, s.observers.stop(s.opts.Drain))
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("serve plugin %q: %w", s.plugin.Name, err)
	}
	if cut == nil && s.plugin.Close != nil {
		if e := s.plugin.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close plugin %q: %w", s.plugin.Name, e))
		}
	}
	return errors.Join(err, cut)
}

func (s *Server) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		return fmt.Errorf("plugin %q: the server has been used: make a new one", s.plugin.Name)
	}
	s.serving = true
	return nil
}

// Shutdown makes Serve drain and waits until it has returned, or ctx has ended.
func (s *Server) Shutdown(ctx context.Context) error {
	if !s.stop() {
		return nil
	}
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop makes Serve drain. It reports whether the server has served.
func (s *Server) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := s.serving
	s.serving = true // from here on, it has been used
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	return served
}

// drain ends what the server does, in the order of PROTOCOL.md 1.7: at once for those who notice, after Options.Drain
// for the rest. It reports calls that did not even end when they were cut.
func (s *Server) drain() error {
	finished := make(chan struct{})
	go func() {
		s.grpc.GracefulStop() // listens no more, sends GOAWAY and waits
		s.workers.Wait()
		close(finished)
	}()
	deadline := time.NewTimer(s.opts.Drain)
	defer deadline.Stop()
	handover := time.NewTimer(s.opts.Handover)
	defer handover.Stop()
	select {
	case <-finished: // everybody has left
	case <-handover.C:
	}
	s.refuse()
	select {
	case <-finished:
		return nil
	case <-deadline.C:
	}
	s.opts.Logger.Warn("drain took too long: cutting what is left", "plugin", s.plugin.Name, "drain", s.opts.Drain)
	go s.grpc.Stop() // ends streams and contexts at once, then waits for handlers as GracefulStop does
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-finished:
		return nil
	case <-grace.C:
		return fmt.Errorf("plugin %q: calls still ran %v after they were cancelled: a hook ignores its context",
			s.plugin.Name, cutGrace)
	}
}

// refuse tells hosts to send no more: in health, and on the streams that are left.
func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.draining)
	for e := range s.sessions {
		e.drain()
	}
}

// cutGrace is how long calls get to return after their contexts have ended.
const cutGrace = time.Second

// add registers a stream; one that comes while the server drains is told so at once.
func (s *Server) add(e *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[e] = struct{}{}
	select {
	case <-s.draining:
		e.drain()
	default:
	}
}

func (s *Server) remove(e *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, e)
}
