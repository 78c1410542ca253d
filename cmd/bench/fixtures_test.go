package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/callers"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// The gateway takes every definition that is written for it.
func TestDefinitions(t *testing.T) {
	for name, want := range map[string]struct{ count, pre, auth int }{
		"plain": {1, 0, 0}, "pre1": {1, 1, 0}, "pre4": {1, 4, 0}, "auth": {1, 0, 1}, "many": {10, 0, 0},
		"extractor": {1, 0, 1}, "key": {1, 0, 0}, "keylimits": {1, 0, 0}, "jwt": {1, 0, 0}, "jwtnocache": {1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "apis"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := (workshop{upstream: "http://127.0.0.1:1"}).define(dir, name, want.count, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := callers.JWT(filepath.Join(dir, "apis"), dir); err != nil {
				t.Fatal(err)
			}
			set, problems := config.Loader{}.LoadDir(filepath.Join(dir, "apis"))
			for _, refused := range set.Refused {
				t.Errorf("%+v", refused)
			}
			for _, problem := range problems {
				t.Errorf("%v", problem)
			}
			if len(set.Definitions) != want.count {
				t.Fatalf("%d definitions, want %d", len(set.Definitions), want.count)
			}
			pre, auth := set.Definitions[0].HooksIn(config.PhasePre), set.Definitions[0].HooksIn(config.PhaseAuth)
			if len(pre) != want.pre || len(auth) != want.auth {
				t.Errorf("%d pre and %d auth hooks, want %d and %d", len(pre), len(auth), want.pre, want.auth)
			}
		})
	}
}
