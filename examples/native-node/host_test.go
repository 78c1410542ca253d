package nativenode_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// described is how a host that is written against go-plugin reaches a plugin of ours.
type described struct {
	plugin.NetRPCUnsupportedPlugin
}

func (described) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (described) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return pluginv1.NewPluginClient(conn), nil
}

// stockHost has a host on hashicorp/go-plugin start the example, with mutual TLS and without, call it, ask for its health, and stop it.
func (f fixture) stockHost(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(f.node, filepath.Join(f.dir, "example", "server.js"))
			cmd.Env = []string{"TMPDIR=" + t.TempDir(), "TURNBUCKLE_LISTEN=unix:/nowhere/s"}
			client := plugin.NewClient(&plugin.ClientConfig{
				HandshakeConfig: plugin.HandshakeConfig{
					ProtocolVersion: handshake.Version, MagicCookieKey: handshake.CookieKey, MagicCookieValue: handshake.CookieValue,
				},
				Plugins: plugin.PluginSet{"described": described{}}, Cmd: cmd, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
				AutoMTLS: tls, SkipHostEnv: true, Logger: hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
			})
			defer client.Kill()
			protocol, err := client.Client()
			if err != nil {
				t.Fatal(err)
			}
			if err := protocol.Ping(); err != nil {
				t.Errorf("ping: %v", err)
			}
			raw, err := protocol.Dispense("described")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
			defer cancel()
			reply, err := raw.(pluginv1.PluginClient).Describe(ctx, &pluginv1.DescribeRequest{Host: "test"})
			if err != nil || reply.GetName() != "gatekeeper" {
				t.Errorf("describe: %v, %v", reply, err)
			}
			begun := time.Now()
			client.Kill()
			if took := time.Since(begun); !client.Exited() || took >= 2*time.Second { // then go-plugin sends SIGKILL
				t.Errorf("did not end by itself: %v", took)
			}
		})
	}
}

// started has the gateway start what turnbuckle plugin new writes, with mutual TLS.
func (f fixture) started(t *testing.T) {
	made := filepath.Join(f.dir, "made") // beside node_modules
	file := filepath.Join(made, "plugin.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const server = "\nserver:\n"
	if !strings.Contains(string(text), server) {
		t.Fatalf("%s has no server:\n%s", file, text)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), server, server+"  handshake: {mode: goplugin, tls: required}\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	gatewaytest.CheckMade(t, f.gateway, made, f.node, filepath.Join(made, "server.js"))
}
