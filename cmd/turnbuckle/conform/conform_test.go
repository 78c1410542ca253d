package conform

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

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
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cases {
		if c.Result != Pass {
			t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
		}
	}
	if r.Passed < 150 || r.Name != "conformance" || !slices.Equal(r.Protocols, []string{native, tyk}) {
		t.Errorf("got %d passed of %q, which speaks %q", r.Passed, r.Name, r.Protocols)
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
	for _, bad := range [][]string{{"--protocol", "http", "x"}, {"--timeout", "0s", "x"}, {"--tls-ca", "/nowhere", "x"}, {"--tls-cert", "/nowhere", "x"}, {}} {
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
	for _, c := range checks() {
		if seen[c.id] {
			t.Errorf("%s is there twice", c.id)
		}
		seen[c.id] = true
		heading := `(?m)^(### ` + regexp.QuoteMeta(c.section) + ` |## Part ` + regexp.QuoteMeta(c.section) + `:)`
		if !regexp.MustCompile(heading).Match(spec) {
			t.Errorf("%s: there is no section %q", c.id, c.section)
		}
		if c.title == "" || !slices.Contains([]string{native, tyk, both}, c.protocol) {
			t.Errorf("%s has no title or protocol", c.id)
		}
	}
}

func TestText(t *testing.T) {
	r := &Report{Target: "x", Protocols: []string{native}}
	r.add(Finding{ID: "a/fails", Section: "1.2", Title: "t", Result: Fail, Details: []string{"got\nlines"}})
	r.add(Finding{ID: "a/passes", Section: "1.2", Title: "t", Result: Pass})
	r.add(Finding{ID: "a/skipped", Section: "1.2", Title: "t", Result: Skip, Details: []string{"the server has no hook H"}})
	for _, all := range []bool{false, true} {
		var out bytes.Buffer
		if err := r.writeText(&out, all); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{
			"a/fails": true, "got lines": true, "a/passes": all, "a/skipped": all, "1 cases skipped: the server has no hook H": true,
			"x speaks native: 1 passed, 1 failed, 0 warned, 1 skipped": true,
		} {
			if strings.Contains(out.String(), text) != want {
				t.Errorf("all=%v: %q in the table is %v:\n%s", all, text, !want, out.String())
			}
		}
	}
}
