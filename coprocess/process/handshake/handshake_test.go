package handshake

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	shared "github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

func listen(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

func TestAccept(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	listen(t, filepath.Join(dir, "s"))
	listen(t, filepath.Join(other, "s"))
	if err := os.Symlink(filepath.Join(other, "s"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	plugins, err := shared.NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	good := "1|1|unix|" + filepath.Join(dir, "s") + "|grpc|"
	tests := []struct {
		name, line string
		c          Config
		want       string // part of the error; "": accepted
	}{
		{"plain", good, Config{}, ""},
		{"without certificate", strings.TrimSuffix(good, "|"), Config{}, ""},
		{"multiplex", good + "|true", Config{}, ""},
		{"certificate", good + plugins.Line(), Config{}, ""},
		{"another version", strings.Replace(good, "1|1", "1|3", 1), Config{Versions: []int{2, 3}}, ""},
		{"loopback", "1|1|tcp|127.0.0.1:10000|grpc", Config{TCP: true}, ""},
		{"TLS required", good, Config{TLS: TLSRequired}, "no mutual TLS"},
		{"TLS required and there", good + plugins.Line(), Config{TLS: TLSRequired}, ""},
		{"bad certificate", good + strings.Repeat("x", 60), Config{}, "certificate of the plugin"},
		{"garbage", "hello", Config{}, "want core|version"},
		{"empty", "", Config{}, "want core|version"},
		{"too much", good + "|||", Config{}, "want core|version"},
		{"core", strings.Replace(good, "1|1", "2|1", 1), Config{}, "another generation"},
		{"version", strings.Replace(good, "1|1", "1|9", 1), Config{}, "version \"9\""},
		{"net/rpc", strings.Replace(good, "grpc", "netrpc", 1), Config{}, "does not serve gRPC"},
		{"old net/rpc", "1|1|unix|" + filepath.Join(dir, "s"), Config{}, "does not serve gRPC"},
		{"outside", "1|1|unix|" + filepath.Join(other, "s") + "|grpc", Config{}, "not in the plugin's own folder"},
		{"outside by dots", "1|1|unix|" + dir + "/../" + filepath.Base(other) + "/s|grpc", Config{}, "not in the plugin's own folder"},
		{"outside by link", "1|1|unix|" + filepath.Join(dir, "link") + "|grpc", Config{}, "is no socket"},
		{"missing", "1|1|unix|" + filepath.Join(dir, "none") + "|grpc", Config{}, "no such socket"},
		{"tcp", "1|1|tcp|127.0.0.1:10000|grpc", Config{}, "not a socket in the plugin's own folder"},
		{"tcp elsewhere", "1|1|tcp|192.0.2.1:80|grpc", Config{TCP: true}, "with tcp allowed"},
		{"tcp by name", "1|1|tcp|localhost:80|grpc", Config{TCP: true}, "with tcp allowed"},
		{"network", "1|1|udp|127.0.0.1:80|grpc", Config{TCP: true}, "unknown network"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, err := New(test.c, dir)
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.Accept(test.line)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			case !got.Handshake || (got.TLS != nil) != strings.Contains(test.line, plugins.Line()):
				t.Errorf("got %+v", got)
			case !Looks(test.line):
				t.Error("it does not look like a handshake")
			}
		})
	}
}

func TestEnv(t *testing.T) {
	has := func(env []string, name string) bool {
		return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	}
	tests := []struct {
		c                     Config
		listen, cookie, certs bool
	}{
		{Config{}, true, true, true},
		{Config{TLS: TLSOff}, true, true, false},
		{Config{Mode: GoPlugin}, false, true, true},
		{Config{Mode: Plain}, true, false, false},
	}
	for _, test := range tests {
		o, err := New(test.c, "/d")
		if err != nil {
			t.Fatal(err)
		}
		env := o.Env()
		if has(env, EnvListen) != test.listen || has(env, shared.CookieKey) != test.cookie || has(env, shared.EnvClientCert) != test.certs {
			t.Errorf("%+v: got %q", test.c, env)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{{Mode: "x"}, {TLS: "x"}, {Mode: Plain, TLS: TLSRequired}, {CookieKey: "a=b"}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

// Each side accepts the certificate of the other and no third.
func TestMutualTLS(t *testing.T) {
	o, err := New(Config{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	make1 := func() *shared.Certificate {
		c, err := shared.NewCertificate()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plugin, stranger := make1(), make1()
	try := func(server, shown *shared.Certificate, hosts []byte) error {
		s, err := server.Server(hosts)
		if err != nil {
			t.Fatal(err)
		}
		c, err := o.cert.Client(shown.Line())
		if err != nil {
			t.Fatal(err)
		}
		a, b := net.Pipe()
		result := make(chan error, 1)
		go func() {
			err := tls.Server(a, s).HandshakeContext(t.Context())
			_ = a.Close()
			result <- err
		}()
		err = tls.Client(b, c).HandshakeContext(t.Context())
		_ = b.Close()
		if serverErr := <-result; err == nil {
			err = serverErr
		}
		return err
	}
	if err := try(plugin, plugin, o.cert.PEM()); err != nil {
		t.Error(err)
	}
	if try(stranger, plugin, o.cert.PEM()) == nil {
		t.Error("a stranger passes as the plugin")
	}
	if try(plugin, plugin, stranger.PEM()) == nil {
		t.Error("the plugin takes a host it does not know")
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("1|1|unix|/d/s|grpc|x|true")
	f.Add("1|1|tcp|127.0.0.1:1|grpc")
	o, err := New(Config{TCP: true}, f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, err := o.Accept(line)
		if err == nil && got.Network != "unix" && !strings.HasPrefix(got.Address, "127.") && !strings.HasPrefix(got.Address, "[") {
			t.Errorf("%q is accepted: %+v", line, got)
		}
	})
}
