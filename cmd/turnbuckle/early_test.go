package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
)

// A keeper is one before the packages that take long are initialised, and never sees the program's main.
func TestKeeperIsEarly(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, keeper.Arg) // without a gateway at the other end
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("%v, want exit status 2\n%s", err, out)
	}
	trace := string(out)
	if !strings.Contains(trace, "init os ") || !strings.Contains(trace, "not for being run by hand") {
		t.Errorf("the trace is not that of a keeper:\n%s", trace)
	}
	for _, heavy := range []string{"santhosh-tekuri/jsonschema", "prometheus/client_golang/prometheus ", "google.golang.org/grpc ", "oras.land/", "turnbuckle/host/config"} {
		if strings.Contains(trace, heavy) {
			t.Errorf("%s was initialised first", heavy)
		}
	}
}
