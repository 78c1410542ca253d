package all_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func manifests(t *testing.T) []*config.Plugin {
	t.Helper()
	var out []*config.Plugin
	for _, p := range all.Plugins() {
		m, problems := config.ParseBuiltin(p.Name, p.Manifest, p.Check)
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocks are the definitions of a README: what has a use, with a listener and an upstream where it says none.
func blocks(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		def := m[1]
		if !strings.Contains(def, "use:") {
			continue
		}
		if !strings.Contains(def, "listen:") {
			def = "listen: {path: /}\nupstream: {url: 'http://127.0.0.1:1'}\n" + def
		}
		out = append(out, def)
	}
	return out
}

// parse reads a definition as the gateway does; every variable is set, and files of secrets are there.
func parse(t *testing.T, text string) *config.Definition {
	t.Helper()
	dir := t.TempDir()
	text = regexp.MustCompile(`file:/run/secrets/[a-z_.-]+`).ReplaceAllStringFunc(text, func(ref string) string {
		name := filepath.Base(strings.TrimPrefix(ref, "file:"))
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + name
	})
	loader := config.Loader{Builtins: manifests(t), LookupEnv: func(name string) (string, bool) {
		if name == "AMQP_URL" {
			return "amqp://127.0.0.1:1/", true
		}
		return "secret-of-some-length", true
	}}
	def, refused := loader.Parse(filepath.Join(dir, "a.yaml"), []byte(text))
	if refused != nil {
		t.Fatalf("%s\n%v", text, refused.Problems)
	}
	return def
}

func find(t *testing.T, name string) all.Plugin {
	t.Helper()
	i := slices.IndexFunc(all.Plugins(), func(p all.Plugin) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no plugin %s", name)
	}
	return all.Plugins()[i]
}

// Every configuration in a README is one that its plugin takes.
func TestReadmes(t *testing.T) {
	files, err := filepath.Glob("../*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all.Plugins()) {
		t.Errorf("%d READMEs for %d plugins", len(files), len(all.Plugins()))
	}
	for _, file := range append(files, "../README.md") {
		found := blocks(read(t, file))
		if len(found) == 0 {
			t.Errorf("%s shows no use", file)
		}
		for _, text := range found {
			for _, u := range parse(t, text).Use {
				if err := find(t, u.Plugin).Check(u.Config); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
}

// A plugin is what its manifest says, and begins and ends without the other side.
func TestManifests(t *testing.T) {
	for i, m := range manifests(t) {
		p := all.Plugins()[i]
		t.Run(p.Name, func(t *testing.T) {
			def := parse(t, blocks(read(t, "..", p.Name, "README.md"))[0])
			made, err := p.New(t.Context(), def.Use[0].Config, sdk.Host{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if err := made.Validate(); err != nil {
				t.Error(err)
			}
			var want, got []string
			for _, h := range m.Hooks {
				want = append(want, string(h.Phase)+" "+h.Name)
			}
			for _, o := range m.Observers {
				want = append(want, "log "+o.Name)
			}
			for _, h := range made.Hooks {
				got = append(got, h.Phase.String()+" "+h.Name)
			}
			for _, o := range made.Observers {
				got = append(got, "log "+o.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if m.Name != p.Name || made.Name != m.Name || made.Version != m.Version || m.Description == "" {
				t.Errorf("%s %s is %s %s, described as %q", m.Name, m.Version, made.Name, made.Version, m.Description)
			}
			if made.Close == nil {
				return
			}
			if err := made.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// schema is what is looked at of a JSON Schema.
type schema struct {
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
	Items                *schema           `json:"items"`
	Type                 any               `json:"type"`
	Default              any               `json:"default"`
	Required             []string          `json:"required"`
}

// Every setting stands in the README of its plugin, or among those that all have, with its default.
func TestSettings(t *testing.T) {
	common := read(t, "..", "README.md")
	for _, m := range manifests(t) {
		readme := read(t, "..", m.Name, "README.md")
		var s schema
		if err := json.Unmarshal(m.ConfigSchema, &s); err != nil {
			t.Fatal(err)
		}
		shipper := s.Properties["spool"].Properties != nil
		var walk func(prefix string, s schema)
		walk = func(prefix string, s schema) {
			if s.AdditionalProperties != false {
				t.Errorf("%s: %s takes anything", m.Name, prefix)
			}
			for name, p := range s.Properties {
				path := strings.TrimPrefix(prefix+"."+name, ".")
				if p.Properties != nil {
					walk(path, p)
					continue
				}
				if p.Items != nil && p.Items.Properties != nil {
					walk("", *p.Items) // what each has, the README says without saying whose it is
					continue
				}
				text := readme
				if top, _, _ := strings.Cut(path, "."); shipper && slices.Contains([]string{"send", "batch", "queue", "retry", "spool"}, top) {
					text = common
				}
				row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(path) + "` \\|([^|]*)\\|").FindStringSubmatch(text)
				switch {
				case row == nil:
					t.Errorf("%s: the README has no row for %s", m.Name, path)
				case p.Default != nil && !strings.Contains(row[1], fmt.Sprintf("`%v`", p.Default)):
					t.Errorf("%s: the README says %s of %s, whose default is %v", m.Name, row[1], path, p.Default)
				case slices.Contains(s.Required, name) && !strings.Contains(row[1], "required"):
					t.Errorf("%s: the README does not say that %s is required", m.Name, path)
				}
			}
		}
		walk("", s)
	}
}

// What all shippers can be told they are told alike.
func TestShippersAreAlike(t *testing.T) {
	var want map[string]schema
	for _, m := range manifests(t) {
		var s schema
		if err := json.Unmarshal(m.ConfigSchema, &s); err != nil {
			t.Fatal(err)
		}
		if s.Properties["spool"].Properties == nil {
			continue
		}
		got := map[string]schema{}
		for _, name := range []string{"send", "batch", "queue", "retry", "spool"} {
			got[name] = s.Properties[name]
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", m.Name, diff)
		}
	}
}

// Every plugin that sends records asks for the headers that it is to send, also in a process of its own.
func TestHeaders(t *testing.T) {
	want := sdk.RecordNeeds{Header: []string{"Content-Type", "X-Shop-*"}, ReplyHeader: []string{"*"}}
	const names = `"headers":["Content-Type","X-Shop-*"],"response_headers":"all"`
	for name, config := range map[string]string{
		"amqp":    `{"url":"amqp://127.0.0.1:1","send":{` + names + `}}`,
		"datadog": `{"logs":{"api_key":"k","endpoint":"http://127.0.0.1:1"},"send":{` + names + `}}`,
		"kafka":   `{"brokers":["127.0.0.1:1"],"topic":"t","send":{` + names + `}}`,
		"loggly":  `{"token":"t","endpoint":"http://127.0.0.1:1","send":{` + names + `}}`,
		"nats":    `{"servers":["nats://127.0.0.1:1"],"send":{` + names + `}}`,
		"webhook": `{"allow":["127.0.0.0/8"],"targets":[{"url":"http://127.0.0.1:1","requests":{"sample":1,` + names + `}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := find(t, name).Check(json.RawMessage(config)); err != nil {
				t.Fatal(err)
			}
			p, err := find(t, name).New(t.Context(), json.RawMessage(config), sdk.Host{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			// The server there closes it.
			for where, o := range map[string]sdk.Observer{"here": p.Observers[0].Observer, "there": remotetest.Serve(t, p).Observers[0].Observer} {
				needer, ok := o.(sdk.RecordNeeder)
				if !ok {
					t.Fatalf("%s: it asks for nothing", where)
				}
				if d := cmp.Diff(want, needer.RecordNeeds()); d != "" {
					t.Errorf("%s:\n%s", where, d)
				}
			}
			for _, bad := range []string{`"some"`, `[""]`, `["A B"]`, `["*-X"]`, `7`} {
				if err := find(t, name).Check(json.RawMessage(strings.Replace(config, `"all"`, bad, 1))); err == nil || !strings.Contains(err.Error(), "response_headers") {
					t.Errorf("%s is taken: %v", bad, err)
				}
			}
		})
	}
}
