package settings

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func of(pairs ...string) Changes {
	c := Changes{}
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return c
}

func TestPatched(t *testing.T) {
	before := of("log.level", `"warn"`, "servers.a.address", `"h:1"`, "servers.a.streams", "2", "servers.ab.address", `"h:2"`, "admin.secret_file", `"f"`)
	for _, tt := range []struct {
		name, patch string
		want        Changes
		paths       []string
		refused     string
	}{
		{"nothing", `{}`, before, nil, ""},
		{"nested and dotted", `{"log":{"level":"debug"},"hooks.breaker":{"window": "3s"},"hooks":{"breaker.min_calls":7}}`,
			of("log.level", `"debug"`, "servers.a.address", `"h:1"`, "servers.a.streams", "2", "servers.ab.address", `"h:2"`, "admin.secret_file", `"f"`,
				"hooks.breaker.window", `"3s"`, "hooks.breaker.min_calls", "7"),
			[]string{"hooks.breaker.min_calls", "hooks.breaker.window", "log.level"}, ""},
		{"values that are lists and mappings", `{"tracing":{"headers":{"a": "b"}},"access_log.fields":["time", "status"]}`,
			of("log.level", `"warn"`, "servers.a.address", `"h:1"`, "servers.a.streams", "2", "servers.ab.address", `"h:2"`, "admin.secret_file", `"f"`,
				"tracing.headers", `{"a":"b"}`, "access_log.fields", `["time","status"]`), []string{"access_log.fields", "tracing.headers"}, ""},
		{"taken back", `{"log":{"level":null},"servers":{"a":null}}`, of("servers.ab.address", `"h:2"`, "admin.secret_file", `"f"`), nil, ""},
		{"an alternative", `{"admin.secret":"long enough"}`,
			of("log.level", `"warn"`, "servers.a.address", `"h:1"`, "servers.a.streams", "2", "servers.ab.address", `"h:2"`, "admin.secret", `"long enough"`),
			[]string{"admin.secret"}, ""},
		{"unknown", `{"log":{"levl":"x"},"nonsense":null,"servers":{"a":1,"b":{"x":2}},"store":"redis","a.b.c.d.e.f":1,"":1}`, nil, nil,
			"there is no setting \"\"\nthere is no setting \"a.b.c.d.e.f\"\nthere is no setting \"log.levl\" (did you mean \"log.level\"?)\n" +
				"there is no setting \"nonsense\"\n\"servers.a\" holds settings: its value must be an object of them\nthere is no setting \"servers.b.x\"\n" +
				"\"store\" holds settings: its value must be an object of them"},
		{"what is started, and as whom", `{"servers":{"a":{"command":["sh"],"env":{"A":"b"},"instances":2},"b.user":"root"},"plugins":"/tmp","bundles":{"require_signed":false,"poll":"1s","public_keys":["k"]}}`, nil, nil,
			"bundles.public_keys decides which programs the gateway starts: say it in the settings file, the environment or by a flag\n" +
				"bundles.require_signed decides which programs the gateway starts: say it in the settings file, the environment or by a flag\n" +
				"plugins decides which programs the gateway starts: say it in the settings file, the environment or by a flag\n" +
				"servers.a.command decides which programs the gateway starts: say it in the settings file, the environment or by a flag\n" +
				"servers.a.env decides which programs the gateway starts: say it in the settings file, the environment or by a flag\n" +
				"servers.b.user decides which programs the gateway starts: say it in the settings file, the environment or by a flag"},
		{"twice", `{"log":{"level":"debug"},"log.level":"info"}`, nil, nil, `"log.level" is said twice, nested and joined by dots`},
		{"a key twice", `{"log.level":"debug","log.level":"info"}`, nil, nil, "not a change of settings: the change:1:22: $[\"log.level\"]: key stands twice in one mapping"},
		{"a list", `[]`, nil, nil, "not a change of settings: want one JSON object"},
		{"nothing at all", `null`, nil, nil, "not a change of settings: want one JSON object"},
		{"two", `{} {}`, nil, nil, "not a change of settings: want one JSON object"},
		{"torn", `{"a":`, nil, nil, "not a change of settings: want one JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			copied := of()
			for k, v := range before {
				copied[k] = v
			}
			next, paths, err := copied.Patched([]byte(tt.patch))
			if !cmp.Equal(copied, before) {
				t.Error("the changes themselves were changed")
			}
			if tt.refused != "" {
				if err == nil || err.Error() != tt.refused {
					t.Errorf("got %v\nwant %s", err, tt.refused)
				}
				return
			}
			if err != nil || !cmp.Equal(next, tt.want) || !cmp.Equal(paths, tt.paths) {
				t.Errorf("got %v, %v, %v", err, paths, cmp.Diff(tt.want, next))
			}
		})
	}
}

func TestWithout(t *testing.T) {
	c := of("log.level", `"warn"`, "servers.a.address", `"h:1"`, "gone.since", "1")
	for path, want := range map[string]bool{"log.level": true, "log": true, "servers.a": true, "servers": true, "log.format": false, "gone.since": true} {
		if _, found, err := c.Without(path); found != want || err != nil {
			t.Errorf("%s: found %v, %v", path, found, err)
		}
	}
	if _, _, err := c.Without("log.levl"); err == nil {
		t.Error("an unknown setting is none")
	}
}

// TestSave: what was saved is read again, by its owner alone, and a failure leaves what was.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data", "settings.json")
	want := of("log.level", `"debug"`, "access_log.fields", `["time"]`)
	for range 2 {
		if err := want.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readChanges(path)
	if err != nil || string(got["log.level"]) != `"debug"` || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := want.Save(filepath.Join(dir, "file", "settings.json")); err == nil {
		t.Error("saved below a file")
	}
}

// TestLoad: where changes are kept, when they hold, and what is said when they cannot be read.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "turnbuckle.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(dir, "state", "settings.json")
	write(file, "store: {path: state}\nlog: {level: warn}\n")
	src := &Source{File: file}
	l, err := src.Load()
	if err != nil || l.ChangesFile != kept || l.Problems.Refused() || len(l.Files) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	write(kept, `{"log.level":"debug","store.path":"elsewhere"}`)
	l, err = src.Load()
	if err != nil || l.ChangesFile != kept || l.Settings.Log.Level != "debug" || len(l.Changes) != 2 || filepath.Base(l.Settings.Store.Path) != "elsewhere" {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = src.With(nil)
	if err != nil || l.Settings.Log.Level != "warn" {
		t.Errorf("without: %v, %v", l.Settings.Log.Level, err)
	}
	write(file, "store: {path: state}\nlog: {level: warn}\nadmin: {settings: false}\n")
	l, err = src.Load()
	if err != nil || l.Settings.Log.Level != "warn" || len(l.Problems) != 1 || !strings.Contains(l.Problems[0].Error(), "not read, since admin.settings is off") {
		t.Errorf("switched off: %v, %v", l, err)
	}
	write(file, "store: {path: state}\n")
	write(kept, `{"log.levl":"debug"}`)
	if l, err = src.Load(); err != nil || !l.Problems.Refused() || !strings.HasPrefix(l.Problems[0].Error(), kept+": change of log.levl: there is no setting") {
		t.Errorf("an unknown setting: %v, %v", l.Problems, err)
	}
	write(kept, `{`)
	if _, err = src.Load(); err == nil || !strings.Contains(err.Error(), kept) {
		t.Errorf("torn: %v", err)
	}
	if _, err := (&Source{File: filepath.Join(dir, "none.yaml")}).Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(file, "access_log: {fields: [time, tim, time]}\n")
	l, err = src.Load()
	if err != nil || len(l.Problems) < 2 || !l.Problems.Refused() {
		t.Errorf("fields: %v, %v", l, err)
	}
}
