package document_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

func parse(t testing.TB, name, text string) *document.Node {
	t.Helper()
	root, problems := document.Parse(name, []byte(text))
	if problems != nil {
		t.Fatal(problems)
	}
	return root
}

// TestPlaces: both notations give the same tree, each with its own places.
func TestPlaces(t *testing.T) {
	yaml := parse(t, "x.yaml", "a:\n  - b: 1\n    \"c d\": x\n  - null\n")
	jsn := parse(t, "x.json", "{\n \"a\": [ {\"b\" : 1,\n\"c d\":\t\"x\"}, null]}")
	for _, tt := range []struct {
		path                             string
		kind                             document.Kind
		yamlLine, yamlCol, line, jsonCol int
	}{
		{"$", document.Mapping, 1, 1, 1, 1},
		{"$.a", document.Sequence, 2, 3, 2, 7},
		{"$.a[0]", document.Mapping, 2, 5, 2, 9},
		{"$.a[0].b", document.Number, 2, 8, 2, 16},
		{`$.a[0]["c d"]`, document.String, 3, 12, 3, 8},
		{"$.a[1]", document.Null, 4, 5, 3, 14},
	} {
		y, wholeY := yaml.Find(tt.path)
		j, wholeJ := jsn.Find(tt.path)
		if !wholeY || !wholeJ || y.Path() != tt.path || j.Path() != tt.path || y.Kind != tt.kind || j.Kind != tt.kind {
			t.Errorf("%s: %v %v, %s %s, %s %s", tt.path, wholeY, wholeJ, y.Path(), j.Path(), y.Kind, j.Kind)
		}
		if got, want := [4]int{y.Line, y.Col, j.Line, j.Col}, [4]int{tt.yamlLine, tt.yamlCol, tt.line, tt.jsonCol}; got != want {
			t.Errorf("%s stands at %v, want %v", tt.path, got, want)
		}
	}
	if n, whole := yaml.Find("$.a[0].z.y"); whole || n.Path() != "$.a[0]" {
		t.Errorf("missing: %s %v", n.Path(), whole)
	}
}

func TestJSON(t *testing.T) {
	root := parse(t, "x.yaml", "z: 0x10\na: [1.50, .5, yes, True, ~, 'é<\"', 1e3, 12345678901234567890123]\nt: 2030-01-02\n")
	raw, problems := root.JSON()
	want := `{"z":16,"a":[1.50,0.5,"yes",true,null,"é<\"",1e3,12345678901234567890123],"t":"2030-01-02"}`
	if string(raw) != want || problems != nil || !json.Valid(raw) {
		t.Errorf("%s %v", raw, problems)
	}
	if _, problems = parse(t, "x.yaml", "a: .inf\n").JSON(); len(problems) != 1 {
		t.Errorf("infinity: %v", problems)
	}
}

func TestDecode(t *testing.T) {
	type inner struct {
		N int `yaml:"n,positive"`
	}
	type outer struct {
		Inner2 `yaml:",inline"`
		S      string            `yaml:"s"`
		F      float64           `yaml:"f"`
		D      time.Duration     `yaml:"d"`
		L      []string          `yaml:"l"`
		I      []inner           `yaml:"i"`
		M      map[string]string `yaml:"m"`
		R      json.RawMessage   `yaml:"r"`
		Kept   string            `yaml:"kept"`
		Others string            `yaml:"others"`
	}
	got := outer{Kept: "default"}
	problems := document.Decode(parse(t, "x.yaml", "b: true\ns: x\nf: 2\nd: 3s\nl: one\ni: [{n: 4}]\nm: {k: v}\nr: {q: [1]}\n"), &got)
	want := outer{
		Inner2: Inner2{B: true}, S: "x", F: 2, D: 3 * time.Second, L: []string{"one"}, I: []inner{{4}},
		M: map[string]string{"k": "v"}, R: json.RawMessage(`{"q":[1]}`), Kept: "default",
	}
	if diff := cmp.Diff(want, got); diff != "" || problems != nil {
		t.Errorf("%v (-want +got)\n%s", problems, diff)
	}
	bad := document.Decode(parse(t, "x.yaml", "b: 'true'\ns: 1\nf: x\nd: -1s\nl: {a: b}\ni: {n: 1}\nm: [1]\nr: .nan\nkept: ~\nbee: 1\n"), &outer{})
	var places []string
	for _, p := range bad {
		places = append(places, strings.TrimPrefix(p.Error(), "x.yaml:"))
	}
	wantBad := []string{
		"1:4: $.b: must be true or false, not a string",
		"2:4: $.s: must be a string, not a number",
		"3:4: $.f: must be a number, not a string",
		"4:4: $.d: a duration must not be negative",
		"5:4: $.l: must be a list, not a mapping",
		"6:4: $.i: must be a list, not a mapping",
		"7:4: $.m: must be a mapping, not a list",
		`8:4: $.r: ".nan" has no JSON form`,
		"9:7: $.kept: must be a string, and there is nothing",
		`10:6: $.bee: unknown key (did you mean "b"?)`,
	}
	if diff := cmp.Diff(wantBad, places); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

type Inner2 struct {
	B bool `yaml:"b"`
}

func TestResolveAndRedact(t *testing.T) {
	root := parse(t, "x.yaml", "a: env:A\nb: [file:f, 'env:not a name', 'environment']\nc: env://A\n")
	r := document.Resolver{
		LookupEnv: func(name string) (string, bool) { return "secret " + name, true },
		ReadFile:  func(path string) ([]byte, error) { return []byte("content of " + path + "\n"), nil },
	}
	if problems := r.Resolve(root); problems != nil {
		t.Fatal(problems)
	}
	raw, _ := root.JSON()
	if want := `{"a":"secret A","b":["content of f","env:not a name","environment"],"c":"env://A"}`; string(raw) != want {
		t.Errorf("got %s", raw)
	}
	ps := document.Problems{{Message: `"secret A" is wrong`, Hint: "not content of f"}}
	root.Redact(ps)
	if ps[0].Message != `"env:A" is wrong` || ps[0].Hint != "not file:f" {
		t.Errorf("got %+v", ps)
	}
	if got := root.Get("a").Quote(); got != `"env:A"` {
		t.Errorf("quoted as %s", got)
	}
}

// TestReferencesAddUp: a file of a few bytes for each reference cannot fill the memory.
func TestReferencesAddUp(t *testing.T) {
	root := parse(t, "x.yaml", "["+strings.Repeat("file:f,", 1000)+"]")
	large := []byte(strings.Repeat("x", document.MaxSecretBytes))
	problems := document.Resolver{ReadFile: func(string) ([]byte, error) { return large, nil }}.Resolve(root)
	if !problems.Refused() || !strings.Contains(problems[0].Message, "add up to more than") || len(problems) > 200 {
		t.Errorf("got %v", problems)
	}
	tooLarge := document.Resolver{ReadFile: func(string) ([]byte, error) { return append(large, 'x'), nil }}
	if problems = tooLarge.Resolve(parse(t, "x.yaml", "file:f")); !problems.Refused() {
		t.Error("a file over the bound is read")
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"listen", "upstream", "hooks"}
	for word, want := range map[string]string{
		"lisen": `did you mean "listen"?`, "Hook": `did you mean "hooks"?`, "up": "known here: listen, upstream, hooks",
		strings.Repeat("x", 1000): "",
	} {
		if got := document.Suggest(word, known); got != want {
			t.Errorf("%.10s: %s", word, got)
		}
	}
}

func TestErr(t *testing.T) {
	ps := document.Problems{
		{File: "b", Message: "two"}, {File: "a", Severity: document.Warning, Message: "w"}, {File: "a", Line: 1, Col: 2, Message: "one"}, {File: "b", Message: "two"},
	}.Sort()
	if got, want := ps.Err().Error(), "a:1:2: one\nb: two"; got != want {
		t.Errorf("got %q", got)
	}
	if ps.Of(document.Warning).Err() != nil {
		t.Error("a warning is an error")
	}
}

// FuzzParse: no input panics, and what is read survives being written as JSON and read again.
func FuzzParse(f *testing.F) {
	f.Add("a: [1, {b: c}]\n", false)
	f.Add(`{"a": [1, {"b": "c\u0000"}], "d": 1e400}`, true)
	f.Add("? x\n: - &a y\n  - *a\n", false)
	f.Add("a: !!float 1\nb: 0o17\nc: 0b1\nd: 1_000\n", false)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "f.yaml"
		if isJSON {
			name = "f.json"
		}
		root, problems := document.Parse(name, []byte(text))
		if problems.Refused() || root == nil {
			if problems == nil {
				t.Fatal("nothing and no problem")
			}
			return
		}
		first, problems := root.JSON()
		if problems != nil {
			return
		}
		if !json.Valid(first) {
			t.Fatalf("%q is not JSON", first)
		}
		again, problems := document.Parse("again.json", first)
		if problems != nil {
			t.Fatalf("%q: %v", first, problems)
		}
		second, _ := again.JSON()
		if string(first) != string(second) {
			t.Fatalf("%q became %q", first, second)
		}
	})
}
