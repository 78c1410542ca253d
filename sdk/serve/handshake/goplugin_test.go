package handshake_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// The test binary is a plugin too, when a host starts it.
func TestMain(m *testing.M) {
	if handshake.Wanted(os.Getenv) {
		os.Args = os.Args[:1]
		os.Exit(serve.Main(&sdk.Plugin{Name: "p", Version: "1", Hooks: []sdk.HookSpec{{
			Name: "Greet", Phase: sdk.Pre,
			Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
				x.Request().Header().Set("X-Greeting", "hello")
				return nil
			}),
		}}}))
	}
	os.Exit(m.Run())
}

// dispatcher is how a host that is written against go-plugin reaches Tyk's protocol on a plugin of ours.
type dispatcher struct {
	plugin.NetRPCUnsupportedPlugin
}

func (dispatcher) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (dispatcher) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return tykpb.NewDispatcherClient(conn), nil
}

func host(t *testing.T, more func(*plugin.ClientConfig)) (*plugin.Client, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	c := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: handshake.Version, MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue,
		},
		Plugins:          plugin.PluginSet{"dispatcher": dispatcher{}},
		Cmd:              exec.Command(os.Args[0]),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Debug, Mutex: nil}),
		SkipHostEnv:      true,
	}
	c.Cmd.Env = []string{"TMPDIR=" + t.TempDir(), "GORACE=atexit_sleep_ms=0", "TURNBUCKLE_PLUGIN_LISTEN=unix:/nowhere/s"}
	more(c)
	client := plugin.NewClient(c)
	t.Cleanup(client.Kill)
	return client, &said
}

// A stock go-plugin host starts a plugin of ours, calls it, asks for its health, and stops it.
func TestStockHost(t *testing.T) {
	tests := []struct {
		name string
		more func(*plugin.ClientConfig)
	}{
		{"plain", func(*plugin.ClientConfig) {}},
		{"mutual TLS", func(c *plugin.ClientConfig) { c.AutoMTLS = true }},
		{"several versions", func(c *plugin.ClientConfig) {
			c.VersionedPlugins = map[int]plugin.PluginSet{1: {"dispatcher": dispatcher{}}, 2: {}}
		}},
		{"socket for a group", func(c *plugin.ClientConfig) {
			c.UnixSocketConfig = &plugin.UnixSocketConfig{Group: "0"}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "socket for a group" && os.Getuid() != 0 {
				t.Skip("only root may give files to any group")
			}
			client, _ := host(t, test.more)
			protocol, err := client.Client()
			if err != nil {
				t.Fatal(err)
			}
			// Somebody's Ctrl-C is the host's to hear.
			if p, err := os.FindProcess(client.ReattachConfig().Pid); err != nil || p.Signal(os.Interrupt) != nil {
				t.Errorf("interrupt: %v", err)
			}
			if err := protocol.Ping(); err != nil {
				t.Errorf("ping: %v", err)
			}
			raw, err := protocol.Dispense("dispatcher")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			reply, err := raw.(tykpb.DispatcherClient).Dispatch(ctx, &tykpb.Object{
				HookType: tykpb.HookType_Pre, HookName: "Greet", Request: &tykpb.MiniRequestObject{},
			})
			if err != nil || reply.GetRequest().GetSetHeaders()["X-Greeting"] != "hello" {
				t.Errorf("dispatch: %v, %v", reply, err)
			}
			begun := time.Now()
			client.Kill()
			if !client.Exited() {
				t.Error("runs after Kill")
			}
			if took := time.Since(begun); took >= 2*time.Second { // then go-plugin sends SIGKILL
				t.Errorf("did not end by itself: %v", took)
			}
		})
	}
}

// A host that wants what we have not is told so, instead of waiting for it.
func TestStockHostMultiplex(t *testing.T) {
	client, _ := host(t, func(c *plugin.ClientConfig) { c.GRPCBrokerMultiplex = true })
	_, err := client.Client()
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("does not support the feature")) {
		t.Errorf("got %v, want that broker multiplexing is not supported", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name    string
		address string
		env     map[string]string
		want    string
	}{
		{"certificate", "", map[string]string{handshake.EnvClientCert: "none"}, "PLUGIN_CLIENT_CERT: no PEM certificate"},
		{"folder", "", map[string]string{handshake.EnvSocketDir: filepath.Join(t.TempDir(), "missing")}, "find a name for the socket"},
		{"group", "", map[string]string{handshake.EnvSocketGroup: "no such group", handshake.EnvSocketDir: t.TempDir()}, "no such group"},
		{"address", "x", nil, "want unix:PATH"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := handshake.Open(t.Context(), test.address, func(k string) string { return test.env[k] })
			if err == nil {
				_ = a.Listener.Close()
				t.Fatal("got no error")
			}
			if !bytes.Contains([]byte(err.Error()), []byte(test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
