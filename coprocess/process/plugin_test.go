package process_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
	shared "github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// envMode makes the test binary one of the plugins below.
const envMode = "PROCESS_TEST_PLUGIN"

// TestMain makes the test binary all there is: keepers, plugins good and bad, gateways to be killed.
func TestMain(m *testing.M) {
	name, value, _ := strings.Cut(processtest.QuickExit, "=")
	if err := os.Setenv(name, value); err != nil {
		panic(err)
	}
	mode := os.Getenv(envMode)
	switch {
	case keeper.Wanted(os.Args):
		os.Exit(keeper.Main())
	case mode == "gateway":
		gateway()
		os.Exit(0)
	case mode != "":
		if run := plugins()[mode]; run != nil {
			run()
			os.Exit(0)
		}
		fmt.Println("no such plugin:", mode)
		os.Exit(9)
	}
	os.Exit(m.Run())
}

// plugins are the programs, by name. Those that are hostile from the start are so on purpose.
func plugins() map[string]func() {
	forever := make(chan struct{})
	return map[string]func(){
		// Good ones.
		"sdk":      func() { os.Exit(serve.Main(sdkPlugin())) },
		"plain":    func() { _ = os.Unsetenv(shared.CookieKey); os.Exit(serve.Main(sdkPlugin())) },
		"goplugin": goPlugin,
		"tyk":      func() { serveTyk(listenPlain()) },

		// Before they are ready.
		"exit":     func() { fmt.Fprintln(os.Stderr, "no licence found"); os.Exit(7) },
		"garbage":  func() { fmt.Println("<html>502 Bad Gateway</html>"); <-forever },
		"nothing":  func() { <-forever },
		"mebibyte": func() { fmt.Print(strings.Repeat("x", 1<<20)); os.Exit(serve.Main(sdkPlugin())) },
		"outside":  announceOutside,
		"noprotocol": func() {
			l := listenPlain()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n"))
			}
		},
		"hanghealth": func() { serveHealth(listenPlain(), func(context.Context) { <-forever }) },

		"huge": huge,

		// At their end, or on the way.
		"hangshutdown": hangInShutdown,
		"sickens": func() {
			asked := 0
			serveHealth(listenPlain(), func(ctx context.Context) {
				if asked++; asked > 1 {
					<-ctx.Done()
				}
			})
		},
		"walled": walled,
		"holdpipes": func() {
			hold := exec.Command("sleep", os.Getenv("MARK"))
			hold.Stdout, hold.Stderr = os.Stdout, os.Stderr
			hold.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := hold.Start(); err != nil {
				panic(err)
			}
			os.Exit(serve.Main(sdkPlugin()))
		},
	}
}

// listenPlain listens where a plain plugin is told to.
func listenPlain() net.Listener {
	l, err := net.Listen("unix", strings.TrimPrefix(os.Getenv(handshake.EnvListen), "unix:"))
	if err != nil {
		panic(err)
	}
	return l
}

func announceOutside() {
	dir, err := os.MkdirTemp("", "outside")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("1|1|unix|%s|grpc|\n", l.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}

func hangInShutdown() {
	signal.Ignore(syscall.SIGTERM)
	s, err := serve.New(sdkPlugin(), serve.Options{})
	if err != nil {
		panic(err)
	}
	_ = s.Serve(context.Background(), listenPlain())
}

type tykServer struct {
	tykpb.UnimplementedDispatcherServer
	healthpb.UnimplementedHealthServer
	health func(context.Context)
}

func (tykServer) Dispatch(_ context.Context, o *tykpb.Object) (*tykpb.Object, error) {
	o.Request.SetHeaders = map[string]string{"X-Pid": strconv.Itoa(os.Getpid())}
	return o, nil
}

func (s tykServer) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s.health(ctx)
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func serveTyk(l net.Listener) {
	s := grpc.NewServer()
	tykpb.RegisterDispatcherServer(s, tykServer{})
	_ = s.Serve(l)
}

func serveHealth(l net.Listener, health func(context.Context)) {
	s := grpc.NewServer()
	one := tykServer{health: health}
	tykpb.RegisterDispatcherServer(s, one)
	healthpb.RegisterHealthServer(s, one)
	_ = s.Serve(l)
}

// walled serves until it is called: from then on it answers health checks, and nobody can connect any more.
func walled() {
	l := &namedConns{Listener: listenPlain()}
	s := grpc.NewServer()
	asked := make(chan string, 1) // the connection of health checks
	one := tykServer{health: func(ctx context.Context) {
		p, _ := peer.FromContext(ctx)
		select {
		case asked <- p.Addr.String():
		default:
		}
	}}
	tykpb.RegisterDispatcherServer(s, wall{one, func() { l.leave(<-asked) }})
	healthpb.RegisterHealthServer(s, one)
	_ = s.Serve(l)
	select {}
}

type wall struct {
	tykServer
	build func()
}

func (w wall) Dispatch(context.Context, *tykpb.Object) (*tykpb.Object, error) {
	w.build()
	return nil, nil
}

// namedConns is a listener whose connections have names.
type namedConns struct {
	net.Listener
	mu  sync.Mutex
	all []namedConn
}

type namedConn struct {
	net.Conn
	name net.UnixAddr
}

func (c namedConn) RemoteAddr() net.Addr { return &c.name }

func (l *namedConns) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := namedConn{conn, net.UnixAddr{Name: strconv.Itoa(len(l.all)), Net: "unix"}}
	l.all = append(l.all, c)
	return c, nil
}

// leave closes the listener with its socket, and all connections but one.
func (l *namedConns) leave(name string) {
	_ = l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.all {
		if c.name.Name != name {
			_ = c.Close()
		}
	}
}

// huge answers calls of Tyk's protocol with a message of 2 GiB, for as long as somebody reads it.
func huge() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		if !strings.HasSuffix(r.URL.Path, "/Dispatch") {
			w.Header().Set("Grpc-Status", "12")
			return
		}
		_, _ = w.Write([]byte{0, 0x80, 0, 0, 0})
		chunk := make([]byte, 64<<10)
		for range 2 << 30 / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		w.Header().Set("Grpc-Status", "0")
	})
	server := &http.Server{Handler: handler, Protocols: &http.Protocols{}}
	server.Protocols.SetUnencryptedHTTP2(true)
	_ = server.Serve(listenPlain()) // until it is killed
}

type goPluginServer struct{ plugin.NetRPCUnsupportedPlugin }

func (goPluginServer) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	tykpb.RegisterDispatcherServer(s, talkative{})
	return nil
}

// talkative prints a lot: it arrives over gRPC, and stops the process when nobody reads.
type talkative struct{ tykServer }

func (t talkative) Dispatch(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
	for range 100 {
		fmt.Println(strings.Repeat("hello from a go-plugin ", 100))
	}
	return t.tykServer.Dispatch(ctx, o)
}

func (goPluginServer) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

// goPlugin is a server on the stock library, with a cookie of its own.
func goPlugin() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 5, MagicCookieKey: "THEIR_PLUGIN", MagicCookieValue: "biscuit"},
		Plugins:         plugin.PluginSet{"dispatcher": goPluginServer{}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true}),
	})
}

// sdkPlugin is what calls can make turn bad.
func sdkPlugin() *sdk.Plugin {
	hooks := map[string]func(context.Context, *sdk.Exchange) error{
		"Pid": func(_ context.Context, x *sdk.Exchange) error {
			x.Request().Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
			return nil
		},
		"Exit":  func(context.Context, *sdk.Exchange) error { os.Exit(3); return nil },
		"Stop":  func(context.Context, *sdk.Exchange) error { return syscall.Kill(os.Getpid(), syscall.SIGSTOP) },
		"Hang":  func(context.Context, *sdk.Exchange) error { select {} },
		"Flood": func(context.Context, *sdk.Exchange) error { go flood(); return nil },
		"Fork":  func(context.Context, *sdk.Exchange) error { go fork(); return nil },
		"Leak":  func(context.Context, *sdk.Exchange) error { go leak(); return nil },
	}
	p := &sdk.Plugin{Name: "sdk", Version: "1"}
	for name, hook := range hooks {
		p.Hooks = append(p.Hooks, sdk.HookSpec{Name: name, Phase: sdk.Pre, Hook: sdk.HookFunc(hook)})
	}
	return p
}

func flood() {
	line := []byte(strings.Repeat("all work and no play ", 50) + "\n")
	for {
		if _, err := os.Stderr.Write(line); err != nil {
			return
		}
	}
}

func fork() {
	for {
		_ = exec.Command("setsid", "sleep", os.Getenv("MARK")).Start()
	}
}

func leak() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 512 {
			b[i] = 1
		}
		all = append(all, b)
		runtime.KeepAlive(all)
	}
}
