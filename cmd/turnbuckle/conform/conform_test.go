package conform

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/proto"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// serverEnv makes the test binary a server.
const serverEnv = "CONFORM_TEST_SERVER"

func TestMain(m *testing.M) {
	switch os.Getenv(serverEnv) {
	case "go":
		os.Args = os.Args[:1]
		os.Exit(serve.Main(conformance.Plugin()))
	case "deaf":
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// command runs the command and returns what it wrote.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// The reference passes every case, in both protocols, and is started and ended by the kit.
func TestGoServer(t *testing.T) {
	t.Setenv(serverEnv, "go")
	args := []string{"--json", "--hooks"}
	if testing.Short() {
		args = append(args, "--quick")
	}
	out, err := command(t, append(args, os.Args[0])...)
	if err != nil {
		t.Errorf("%v", err)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cases {
		if c.Result != report.Pass {
			t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
		}
	}
	if !r.Handshake || !r.MutualTLS {
		t.Error("it was started without go-plugin's handshake, or without mutual TLS")
	}
	if r.Passed < 150 || r.Name != "conformance" || !slices.Equal(r.Protocols, []string{report.Native, report.Tyk}) {
		t.Errorf("got %d passed of %q, which speaks %q", r.Passed, r.Name, r.Protocols)
	}
}

// A server is started in either way, or in the one that is asked for; the report goes where JUnit's readers look too.
func TestHandshakes(t *testing.T) {
	t.Setenv(serverEnv, "go")
	for mode, handshake := range map[string]bool{"plain": false, "goplugin": true} {
		file := filepath.Join(t.TempDir(), "report.xml")
		out, err := command(t, "--handshake", mode, "--run", "server/stop", "--junit", file, "--all", os.Args[0])
		if err != nil || strings.Contains(out, "with go-plugin's handshake and mutual TLS") != handshake {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
		if xml, err := os.ReadFile(file); err != nil || strings.Count(string(xml), "<testcase ") != 3 {
			t.Errorf("%s: %v in\n%s", mode, err, xml)
		}
	}
}

func TestNoServer(t *testing.T) {
	t.Setenv(serverEnv, "deaf")
	if _, err := command(t, os.Args[0]); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "TURNBUCKLE_LISTEN") {
		t.Errorf("a server that ends at once: got %v", err)
	}
	if _, err := command(t, "--timeout", "300ms", "unix:/nowhere/at/all"); err == nil || errors.Is(err, ErrFailed) {
		t.Errorf("nobody at the address: got %v", err)
	}
	for _, bad := range [][]string{{"--protocol", "http", "x"}, {"--timeout", "0s", "x"}, {"--tls-ca", "/nowhere", "unix:/x"}, {"--tls-cert", "/nowhere", "unix:/x"}, {"--tls", "x"}, {"--handshake", "shy", "x"}, {}} {
		if _, err := command(t, bad...); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Each case has an id of its own, and a section that PROTOCOL.md has.
func TestCasesCite(t *testing.T) {
	spec, err := proto.Files.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range cases() {
		if seen[c.ID] {
			t.Errorf("%s is there twice", c.ID)
		}
		seen[c.ID] = true
		heading := `(?m)^(### ` + regexp.QuoteMeta(c.Section) + ` |## Part ` + regexp.QuoteMeta(c.Section) + `:)`
		if !regexp.MustCompile(heading).Match(spec) {
			t.Errorf("%s: there is no section %q", c.ID, c.Section)
		}
		if c.Title == "" || !slices.Contains([]string{report.Native, report.Tyk, report.Both}, c.Protocol) {
			t.Errorf("%s has no title or protocol", c.ID)
		}
	}
}
