package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// The program refuses every evil bundle for its reason, with what to do.
func TestBundleVerifyCorpus(t *testing.T) {
	dir := t.TempDir()
	key, err := sign.Generate(sign.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sign.Generate(sign.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "release.pub")
	if err := os.WriteFile(public, key.Public().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]bundlestest.Evil{}
	args := []string{"bundle", "verify", "--json", "--name", "guard", "--public-key", public}
	for i, c := range bundlestest.Corpus(t, key, other, time.Now()) {
		if c.Want == refusal.HostVersion {
			continue // this program has no version, and so is new enough for everybody
		}
		file := filepath.Join(dir, fmt.Sprintf("%03d.zip", i))
		if err := os.WriteFile(file, c.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		want[file] = c
		args = append(args, file)
	}
	command := exec.CommandContext(t.Context(), "turnbuckle", args...)
	command.Env = environment()
	out, err := command.Output()
	if code := command.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit status %d: %v", code, err)
	}
	var said struct {
		OK      bool
		Bundles []struct {
			Origin, Message, Advice string
			OK                      bool
			Reason                  refusal.Code
		}
	}
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	for _, d := range said.Bundles {
		c := want[d.Origin]
		if d.OK || d.Reason != c.Want || d.Message == "" || d.Advice != c.Want.Advice() {
			t.Errorf("%s: %+v, want %q", c.Name, d, c.Want)
		}
		delete(want, d.Origin)
	}
	if said.OK || len(want) > 0 {
		t.Errorf("ok %v, and %d were passed over", said.OK, len(want))
	}
	t.Logf("%d bundles", len(said.Bundles))
}
