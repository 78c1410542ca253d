package turnbuckle_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// NOTICE names every module that our non-test code imports, and none that go.mod does not know. (`make notice`
// writes the whole list, with what those modules import in turn.)
func TestNotice(t *testing.T) {
	required := requiredModules(t)
	notice := noticeModules(t)
	for _, listed := range notice {
		if listed != "std" && !slices.Contains(required, listed) {
			t.Errorf("NOTICE lists %s, which go.mod does not require: run make notice", listed)
		}
	}
	for used, where := range usedModules(load(t, os.DirFS(".")), required) {
		if !slices.Contains(notice, used) {
			t.Errorf("%s imports %s, which NOTICE does not list: run make notice", where, used)
		}
	}
}

// requiredModules reads the module paths go.mod requires.
func requiredModules(t *testing.T) []string {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && strings.Contains(fields[0], ".") && strings.HasPrefix(fields[1], "v") {
			modules = append(modules, fields[0])
		}
	}
	if len(modules) == 0 {
		t.Fatal("go.mod requires no module: the test no longer reads it")
	}
	return modules
}

// noticeModules reads the indented "LICENCE module" lines of NOTICE.
func noticeModules(t *testing.T) []string {
	text, err := os.ReadFile("NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "  ") && len(fields) >= 2 {
			modules = append(modules, fields[1])
		}
	}
	return modules
}

// usedModules maps each module that the program may link to a file that imports it.
func usedModules(folders []folder, required []string) map[string]string {
	used := map[string]string{}
	for _, f := range folders {
		if within(f.dir, "cmd/bench/...") || within(f.dir, "cmd/demo/...") || within(f.dir, "examples/...") ||
			strings.HasSuffix(f.name(), "test") { // sdktest and the like are for tests
			continue
		}
		for _, s := range f.sources {
			if s.test {
				continue
			}
			for _, imported := range s.imports() {
				if m := moduleOf(imported, required); m != "" {
					used[m] = s.path
				}
			}
		}
	}
	return used
}

// moduleOf is the longest required module path that holds the package, or nothing.
func moduleOf(imported string, required []string) string {
	holders := slices.DeleteFunc(slices.Clone(required), func(m string) bool { return !within(imported, m+"/...") })
	if len(holders) == 0 {
		return ""
	}
	return slices.MaxFunc(holders, func(a, b string) int { return len(a) - len(b) })
}

func TestUsedModules(t *testing.T) {
	required := []string{"example.org/otel", "example.org/otel/sdk"}
	for imported, want := range map[string]string{
		"example.org/otel/trace":     "example.org/otel",
		"example.org/otel/sdk/trace": "example.org/otel/sdk",
		"example.org/otelx":          "",
		"net/http":                   "",
	} {
		if got := moduleOf(imported, required); got != want {
			t.Errorf("%s belongs to %q, want %q", imported, got, want)
		}
	}
	if got := slices.Sorted(maps.Keys(usedModules(nil, required))); len(got) != 0 {
		t.Errorf("an empty tree uses %q", got)
	}
}
