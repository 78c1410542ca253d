package tyk_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t testing.TB, text string) (*config.Definition, config.Problems) {
	t.Helper()
	env := map[string]string{"TARGET": "http://from-env.internal", "TOKEN": "s3cret-token"}
	loader := config.Loader{
		Classic:   tyk.New(tyk.Options{}),
		WorkDir:   "testdata",
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}
	def, refused := loader.Parse("api.json", []byte(text))
	if refused != nil {
		return nil, refused.Problems
	}
	return def, def.Notices
}

// TestGolden translates every classic definition in testdata and compares the whole result with
// what was looked over by hand when the golden file was written.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			def, refused := config.Loader{Classic: tyk.New(tyk.Options{})}.Parse(file, data)
			var got []byte
			if refused != nil {
				got, err = json.MarshalIndent(refused, "", "  ")
			} else {
				got, err = json.MarshalIndent(def, "", "  ")
			}
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got)+"\n", "\n")); diff != "" {
				t.Errorf("(-golden +got)\n%s", diff)
			}
		})
	}
}
