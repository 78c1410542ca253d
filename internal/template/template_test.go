package template_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	standard "text/template"

	"github.com/turnbuckle-gateway/turnbuckle/internal/template"
)

const document = `{"type": "QuotaExceeded", "status": 502, "ratio": 0.25, "big": 1e21, "yes": true, "no": false, "null": null, "empty": "",
	"none": [], "nothing": {}, "text": "a <b> & \"c\" 'd'\n", "list": ["x", 2, null, {"k": "v"}, [1, 2]],
	"map": {"b": 2, "a": "one", "c": {"d": ["e"]}}, "people": [{"name": "Ann", "age": 3}, {"name": "Bo"}]}`

func data(t testing.TB) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	d["code"] = 404 // what Go code gives
	return d
}

func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

var errRefused = errors.New("refused")

func refuse(any) (string, error) { return "", errRefused }

// Each is executed here and by the standard library, which have to agree.
var texts = []string{
	``, `plain`, `{{/* a comment */}}x`, "a {{- 1 -}} b", `{{.}}`, `{{$}}`, `{{.type}} {{.status}} {{.ratio}} {{.big}} {{.code}} {{.yes}} {{.null}} {{.missing}}`,
	`{{.map.c.d}}`, `{{.map.c.x}}`, `{{.map.x.y}}`, `{{.null.x}}`, `{{.type.x}}`, `{{$.map.a}}`, `{{(.map).a}}`, `{{(index .list 3).k}}`, `{{nil}}`, `{{nil.x}}`,
	`{{"s"}} {{'a'}} {{1}} {{-2}} {{1.5}} {{1e3}} {{0x1F}} {{0b11}} {{1_000}} {{true}} {{3i}} {{0i}}{{eq 1i 1i 2i}}{{if 0i}}x{{end}}`, `{{lt 1i 2i}}`, `{{eq 1i 1}}`, "{{`raw`}}", `{{9223372036854775807}}`, `{{9223372036854775808}}`, `{{"s".x}}`,
	`{{if .yes}}a{{else}}b{{end}}`, `{{if .no}}a{{else if .empty}}b{{else}}c{{end}}`, `{{if .none}}a{{end}}{{if .nothing}}b{{end}}{{if .null}}c{{end}}{{if .ratio}}d{{end}}{{if 0}}e{{end}}`,
	`{{with .map}}{{.a}}{{$.type}}{{else}}x{{end}}`, `{{with .missing}}x{{else with .map}}{{.b}}{{else}}y{{end}}`, `{{with $x := .type}}{{$x}}{{end}}`,
	`{{range .list}}<{{.}}>{{end}}`, `{{range $e := .list}}<{{$e}}>{{end}}`, `{{range $i, $e := .list}}{{$i}}={{$e}},{{end}}`, `{{range $k, $v := .map}}{{$k}}={{$v}};{{end}}`,
	`{{range .none}}x{{else}}empty{{end}}`, `{{range .null}}x{{else}}empty{{end}}`, `{{range .missing}}x{{end}}`, `{{range .type}}x{{end}}`, `{{range 3}}{{.}}{{end}}`, `{{range .list}}{{if eq . nil}}{{.x}}{{end}}{{end}}`, `{{range $e := .list}}{{if eq $e nil}}{{$e.x}}{{end}}{{end}}`, `{{range .list}}{{print .}}{{len (print .)}}{{end}}`, `{{(.null).x}}{{$x := .null}}{{$x.y}}{{(.null).x.y}}`, `{{define "t"}}{{.x}}{{end}}{{template "t"}}`, `{{range .code}}{{if gt . 3}}{{break}}{{end}}{{.}}{{end}}`,
	`{{range $i := 3}}{{$i}}{{end}}`, `{{range $i, $j := 3}}x{{end}}`, `{{range 0}}x{{else}}none{{end}}`, `{{range .status}}x{{end}}`, `{{range index "ab" 0}}{{printf "%T" .}}{{break}}{{end}}`,
	`{{range .list}}{{if eq . nil}}{{continue}}{{end}}{{.}}{{end}}`, `{{range $i, $e := .list}}{{range $j, $f := $.people}}{{if $j}}{{break}}{{end}}{{$i}}{{$f.name}}{{end}}{{end}}`,
	`{{$i := 0}}{{$e := 0}}{{range $i, $e = .list}}{{end}}{{$i}}{{$e}}`, `{{$e := 0}}{{range $e = .list}}{{end}}{{$e}}`, `{{range $i, $e := .list}}{{$i = 7}}{{$i}}{{end}}`,
	`{{range $v := .list}}{{$w := $v}}{{$w}}{{end}}`, `{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{end}}{{$x}}`, `{{$x := 1}}{{with 5}}{{$x := .}}{{$x}}{{end}}{{$x}}`, `{{$x := 1}}{{$x := 2}}{{$x}}`, `{{$y}}`, `{{$x = 1}}`,
	`{{define "t"}}[{{.}}{{$}}]{{end}}{{template "t" .type}}{{template "t"}}`, `{{template "none"}}`, `{{block "b" .map}}{{.a}}{{end}}`, `{{define "r"}}{{if gt . 0}}{{.}}{{template "r" 0}}{{end}}{{end}}{{template "r" 2}}`,
	`{{define "r"}}{{template "r"}}{{end}}{{template "r"}}`, `{{$x := 1}}{{define "t"}}{{$x}}{{end}}`, `{{define "t"}}a{{end}}{{define "t"}}b{{end}}`,
	`{{and}}`, `{{or}}`, `{{and 1 0 .x.y}}`, `{{or 0 "x" .null.x}}`, `{{and .yes .type}}`, `{{or .no .null}}`, `{{1 | and 0}}`, `{{0 | or 0}}`, `{{not .no}}`, `{{not}}`, `{{not 1 2}}`, `{{and .null.x}}`,
	`{{eq 1 1}}{{eq 1 2 3 1}}{{eq .type "QuotaExceeded"}}{{eq .ratio 0.25}}{{eq .yes true}}{{eq .null nil}}{{eq .null .missing}}{{eq .null 1}}{{eq 1 .null}}`, `{{eq 1}}`, `{{eq 1 "x"}}`, `{{eq .status 502}}`, `{{eq .status 502.0}}`,
	`{{eq .code 404}}`, `{{eq .list .list}}`, `{{eq .map nil}}`, `{{eq .map .map}}`, `{{eq nil .map}}`, `{{ne 1 2}}{{ne "a" "a"}}`, `{{ne 1}}`, `{{ne .list 1}}`, `{{eq (index "a" 0) 'a'}}{{lt (index "a" 0) 98}}{{eq 97 (index "a" 0)}}`,
	`{{lt 1 2}}{{le 2 2}}{{gt 3 2}}{{ge 2 2}}{{lt "a" "b"}}{{ge .ratio 0.5}}{{gt .ratio 0.1}}{{le "b" "a"}}`, `{{lt 1 1.5}}`, `{{lt true false}}`, `{{lt .null 1}}`, `{{lt .list 1}}`, `{{gt .map 1}}`, `{{le 1 2 3}}`,
	`{{len .list}}{{len .map}}{{len .type}}{{len "é"}}`, `{{len .null}}`, `{{len 3}}`, `{{len .missing}}`, `{{.type | len}}`, `{{len}}`, `{{len nil}}`,
	`{{index .list 0}}{{index .map "a"}}{{index .list 4 1}}{{index .map "c" "d" 0}}{{index .type 0}}{{index .map "zz"}}{{index .list}}`, `{{index .list 9}}`, `{{index .list -1}}`, `{{index .list "x"}}`, `{{index .list 1.0}}`,
	`{{index .list .status}}`, `{{index .map 1}}`, `{{index .null 1}}`, `{{index nil}}`, `{{index 3 1}}`, `{{index .map .null}}`, `{{index .list nil}}`, `{{index .list 2 1}}`, `{{index}}`, `{{index .none 0}}`,
	`{{slice .type 1}}{{slice .type 1 3}}{{slice .list 1 2}}{{slice .list}}{{slice .list 1 2 3}}{{slice "abc" 3}}`, `{{slice .type 1 2 3}}`, `{{slice .type 3 1}}`, `{{slice .type 99}}`, `{{slice .map}}`, `{{slice .null}}`, `{{slice 3 1}}`, `{{slice .list 1 3 2}}`, `{{slice .list 1 2 3 4}}`, `{{slice .type -1}}`,
	`{{print 1 2 "a" "b" .null .missing}}|{{println .list .map}}|{{print}}|{{print nil}}`, `{{printf "%d %s %v %q %T %5.2f" 1 "s" .list .type .status .ratio}}`, `{{printf "%d" .status}}`, `{{printf 1}}`, `{{printf}}`, `{{printf .null}}`, `{{printf nil}}`, `{{.type | printf "%s-%s" "a"}}`, `{{printf .type}}`,
	`{{html .text}}{{js .text}}{{urlquery .text}}{{html 1 .null}}{{js .map}}{{urlquery "a b" 2}}{{html}}`, `{{.text | html | printf "%q"}}`, `{{html .missing}}`, `{{html nil}}`,
	`{{json .map}}`, `{{.list | json}}`, `{{json .null}}`, `{{json nil}}`, `{{json}}`, `{{json 1 2}}`, `{{refuse 1}}`, `{{if refuse 1}}x{{end}}`, `{{json (slice .list 0 1)}}`, `{{json (index .list 0)}}`,
	`{{call .type}}`, `{{call nil}}`, `{{call}}`, `{{.type 1}}`, `{{.map.a 1}}`, `{{1 | .type}}`, `{{1 2}}`, `{{$ 1}}`, `{{"a" | "b"}}`, `{{. 1}}`, `{{(1) 2}}`, `{{1 | (2)}}`, `{{print (print 1 | print 2) | print 3}}`, `{{len (print .list)}}`, `{{(json .map)}}`, `{{(print "x").y}}`, `{{(.map).c.d}}`, `{{$x := .map}}{{$x.c.d}}{{$x.q}}`, `{{$x := .map}}{{$x.q.r}}`, `{{$x, $y := .list}}`,
	`{{`, `{{if}}`, `{{end}}`, `{{if 1}}`, `{{unknown 1}}`, `{{break}}`, `{{.a.}}`, `{{"}}`, `{{range}}{{end}}`, `{{else}}`, `{{template}}`, `{{(}}`, `{{1 |}}`, `{{| 1}}`, `{{.x | nil}}`, `{{print $.map.a $.list}}`,
}

type outcome struct {
	text   string
	failed bool
}

func ours(t testing.TB, text string, strict bool) outcome {
	parsed, err := template.Parse("name", text, template.Options{Strict: strict, Funcs: map[string]template.Func{"json": asJSON, "refuse": refuse}})
	if err != nil {
		return outcome{"", true}
	}
	got, err := parsed.Render(data(t))
	return outcome{string(got), err != nil}
}

func standards(t testing.TB, text string, strict bool) outcome {
	option := "missingkey=zero"
	if strict {
		option = "missingkey=error"
	}
	parsed, err := standard.New("name").Option(option).Funcs(standard.FuncMap{"json": asJSON, "refuse": refuse}).Parse(text)
	if err != nil {
		return outcome{"", true}
	}
	var b bytes.Buffer
	err = parsed.Execute(&b, data(t))
	return outcome{b.String(), err != nil}
}

func TestAgreesWithTextTemplate(t *testing.T) {
	failed := 0
	for _, text := range texts {
		for _, strict := range []bool{false, true} {
			got, want := ours(t, text, strict), standards(t, text, strict)
			if got != want {
				t.Errorf("%s (strict %v):\n got %+v\nwant %+v", text, strict, got, want)
			}
			if want.failed {
				failed++
			}
		}
	}
	if failed < 100 || len(texts)*2-failed < 100 {
		t.Errorf("of %d, %d fail: neither half is tested", len(texts)*2, failed)
	}
}

// A number this long, or this many loops, may take longer than there is time.
var long = regexp.MustCompile(`\d[\d_]{2}|0[xXbBoO]|[eEpP][+-]?\d`)

func FuzzAgreesWithTextTemplate(f *testing.F) {
	for _, text := range texts {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, strict bool) {
		if long.MatchString(text) || strings.Count(text, "range") > 3 || strings.Count(text, "template")+strings.Count(text, "block") > 1 {
			t.Skip()
		}
		got, want := ours(t, text, strict), standards(t, text, strict)
		if got == want || strings.Contains(text, "slice") && got.failed { // theirs may show what lies behind a list's end
			return
		}
		t.Errorf("%q (strict %v):\n got %+v\nwant %+v", text, strict, got, want)
	})
}

// Errors say where.
func TestErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"{{if}}", "template: dir/x.json:1: missing value for if"},
		{"a\nb{{.map.q}}", `template: dir/x.json:2:7: executing "dir/x.json" at <.map.q>: map has no entry for key "q"`},
		{"{{.map.a.b}}", `can't evaluate field b in type string`},
		{`{{define "in"}}` + "\n\n" + `{{refuse .}}{{end}}{{template "in" 1}}`, `template: dir/x.json:3:2: executing "in" at <refuse>: error calling refuse: refused`},
		{`{{define "r"}}{{template "r"}}{{end}}{{template "r"}}`, "1000 deep"},
	}
	for _, test := range tests {
		parsed, err := template.Parse("dir/x.json", test.text, template.Options{Strict: true, Funcs: map[string]template.Func{"refuse": refuse}})
		if err == nil {
			_, err = parsed.Render(data(t))
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		}
		if strings.Contains(test.text, "refuse") && !errors.Is(err, errRefused) {
			t.Errorf("%s: %v does not wrap the function's error", test.text, err)
		}
	}
}

type full struct{ left int }

var errFull = errors.New("full")

func (w *full) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// A writer that fails ends a loop that would not end soon.
func TestWriterFails(t *testing.T) {
	parsed, err := template.Parse("x", "{{range 1000000000000}}x{{end}}", template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Execute(&full{left: 10}, nil); !errors.Is(err, errFull) {
		t.Errorf("got %v, want what the writer said", err)
	}
}

// One template serves several goroutines.
func TestConcurrent(t *testing.T) {
	parsed, err := template.Parse("x", `{{range $i, $e := .list}}{{$i = 7}}{{template "t" $e}}{{end}}{{define "t"}}{{.}};{{end}}`, template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := parsed.Render(data(t))
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan []byte)
	for range 8 {
		go func() {
			got, _ := parsed.Render(data(t))
			results <- got
		}()
	}
	for range 8 {
		if got := <-results; !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func BenchmarkExecute(b *testing.B) {
	parsed, err := template.Parse("x", `{"code": {{.code}}, "error": "{{.type}}"}`, template.Options{})
	if err != nil {
		b.Fatal(err)
	}
	d := data(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parsed.Render(d); err != nil {
			b.Fatal(err)
		}
	}
}
