package reply

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func exchange(method, contentType string) *sdk.Exchange {
	var x sdk.Exchange
	x.Request().Fill(sdk.RequestInit{Method: method, Path: "/"})
	if contentType != "" {
		x.Request().Header().Append("content-type", contentType)
	}
	return &x
}

func mustCompile(t testing.TB, c config.Errors) *Renderer {
	t.Helper()
	r, err := Compile(c, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// folder makes a folder of templates.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuiltIn(t *testing.T) {
	const jsonBody = "{\n    \"error\": \"Key not authorised\"\n}"
	const xmlBody = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>Key not authorised</error>"
	tests := []struct{ request, reply, body string }{
		{"", "application/json", jsonBody},
		{"application/json", "application/json", jsonBody},
		{"text/plain", "application/json", jsonBody},
		{"application/xml", "application/xml", xmlBody},
		{"text/xml; charset=utf-8", "text/xml", xmlBody},
		{"Application/SOAP+XML ;x=y", "application/soap+xml", xmlBody},
		{"application/xmlish", "application/json", jsonBody},
		{"application/atom+xml", "application/json", jsonBody},
	}
	for _, test := range tests {
		for _, method := range []string{"POST", "HEAD"} {
			x := exchange(method, test.request)
			x.Answer(200, []byte("an answer that is taken back")).Header().Set("X-Old", "1")
			x.Begin(sdk.Post, nil, true)
			(&Renderer{}).Render(x, &sdk.Error{Status: 403, Message: "Key not authorised"})
			r := x.Response()
			want := []sdk.Field{{Name: "Content-Type", Value: test.reply}, {Name: "X-Generator", Value: "turnbuckle"}}
			if diff := cmp.Diff(want, r.Header().Fields()); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", test.request, diff)
			}
			if r.Status() != 403 || string(r.Body()) != test.body || r.Length() != int64(len(test.body)) {
				t.Errorf("%s: got %d %q of %d", test.request, r.Status(), r.Body(), r.Length())
			}
			if x.Changes() != 0 || len(r.Header().HeaderOps()) != 0 {
				t.Errorf("%s: recorded %v", test.request, x.Changes().Names())
			}
		}
	}
}

func TestRenderError(t *testing.T) {
	long := strings.Repeat("é", maxMessage)
	tests := []struct {
		name   string
		e      *sdk.Error
		status int
		text   string // part of the body
		header []sdk.Field
	}{
		{"nil", nil, 500, "Internal Server Error", nil},
		{"no message", &sdk.Error{Status: 503}, 503, "Service Unavailable", nil},
		{"no message, no phrase", &sdk.Error{Status: 599}, 599, "Error", nil},
		{"no status", &sdk.Error{Message: "m"}, 500, `"m"`, nil},
		{"absurd status", &sdk.Error{Status: 200, Message: "m"}, 500, `"m"`, nil},
		{"negative status", &sdk.Error{Status: -1, Message: "m"}, 500, `"m"`, nil},
		{
			"headers", &sdk.Error{Status: 401, Message: "m", Header: []sdk.Field{
				{Name: "WWW-Authenticate", Value: "Basic"}, {Name: "Content-Length", Value: "1"}, {Name: "content-type", Value: "text/html"},
				{Name: "Transfer-Encoding", Value: "chunked"}, {Name: "X-A", Value: "a\r\nX-B: b"}, {Name: "X C", Value: "c"}, {Name: "", Value: "d"},
				{Name: "Retry-After", Value: "5"},
			}}, 401, `"m"`, []sdk.Field{{Name: "WWW-Authenticate", Value: "Basic"}, {Name: "Retry-After", Value: "5"}},
		},
		{"long message", &sdk.Error{Status: 400, Message: long}, 400, "é…", nil},
	}
	for _, test := range tests {
		x := exchange("GET", "")
		mustCompile(t, config.Errors{}).Render(x, test.e)
		r := x.Response()
		if r.Status() != test.status || !strings.Contains(string(r.Body()), test.text) || len(r.Body()) > maxMessage+100 || !utf8.Valid(r.Body()) {
			t.Errorf("%s: got %d %.100q", test.name, r.Status(), r.Body())
		}
		want := append([]sdk.Field{{Name: "Content-Type", Value: "application/json"}}, test.header...)
		if diff := cmp.Diff(want, r.Header().Fields()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestTemplates(t *testing.T) {
	dir := folder(t, map[string]string{
		"error_404.json": `{"file": {{.StatusCode}}}`,
		"error.json":     `{"any": "{{.Message}}"}`,
		"error_404.xml":  `<file>{{.Message}}</file>`,
		"error_999.json": `{{`, "errors.json": `{{`, "error_404.html": `{{`, "error_04.json": `{{`, "error404.json": "{{", "README": `{{`,
	})
	inline := []config.ErrorTemplate{
		{Status: 403, Text: `{"inline": "{{.Message}}"}`},
		{Status: 403, Type: config.TemplateXML, Text: `<inline a="{{.Message}}"/>`},
	}
	anyXML := config.ErrorTemplate{Type: config.TemplateXML, Text: `<any>{{.Message}}</any>`}
	tests := []struct {
		name             string
		errors           config.Errors
		status           int
		request          string
		reply, wantsBody string
	}{
		{"inline", config.Errors{Templates: inline}, 403, "", "application/json", `{"inline": "m"}`},
		{"inline xml", config.Errors{Templates: inline}, 403, "text/xml", "text/xml", `<inline a="m"/>`},
		{"built-in", config.Errors{Templates: inline}, 404, "", "application/json", "{\n    \"error\": \"m\"\n}"},
		{"inline before file", config.Errors{Dir: dir, Templates: inline}, 403, "", "application/json", `{"inline": "m"}`},
		{"file", config.Errors{Dir: dir, Templates: inline}, 404, "", "application/json", `{"file": 404}`},
		{"any file", config.Errors{Dir: dir}, 405, "", "application/json", `{"any": "m"}`},
		{"xml file", config.Errors{Dir: dir}, 404, "text/xml", "text/xml", `<file>m</file>`},
		{"json file for xml", config.Errors{Dir: dir}, 405, "text/xml", "application/json", `{"any": "m"}`},
		{"inline for any status", config.Errors{Dir: dir, Templates: append(inline, anyXML)}, 404, "text/xml", "text/xml", `<any>m</any>`},
		{"prepared", config.Errors{Dir: dir}, 403, "", "application/json", `{"any": "Forbidden"}`},
	}
	for _, test := range tests {
		x := exchange("GET", test.request)
		message := "m"
		if test.name == "prepared" {
			message = "Forbidden"
		}
		mustCompile(t, test.errors).Render(x, &sdk.Error{Status: test.status, Message: message})
		r := x.Response()
		if got := r.Header().Get("Content-Type"); got != test.reply || string(r.Body()) != test.wantsBody {
			t.Errorf("%s: got %s %q", test.name, got, r.Body())
		}
	}
}

func TestTemplatesBroken(t *testing.T) {
	dir := func(name, text string) config.Errors {
		return config.Errors{Dir: folder(t, map[string]string{name: text})}
	}
	inline := func(text string) config.Errors {
		return config.Errors{Templates: []config.ErrorTemplate{{Text: text}}}
	}
	pipe := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(pipe, "error.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Symlink(filepath.Join(dir("error.json", "x").Dir, "error.json"), filepath.Join(outside, "error.json")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		errors config.Errors
		want   string
	}{
		{"no folder", config.Errors{Dir: filepath.Join(t.TempDir(), "none")}, "none"},
		{"syntax", dir("error_401.json", "{\n{{if}}"), "error_401.json:2"},
		{"field", dir("error.xml", "<a>\n\n{{.Reason}}</a>"), "error.xml:3"},
		{"inline syntax", inline("{\n\n{{end}}"), "errors.templates[0]:3"},
		{"inline field", inline("{{.Message.X}}"), "errors.templates[0]:1"},
		{"twice", config.Errors{Templates: []config.ErrorTemplate{{Text: "a"}, {Text: "b"}}}, "already"},
		{"large file", dir("error.json", strings.Repeat("x", maxTemplate+1)), "larger than"},
		{"large inline", inline(strings.Repeat("x", maxTemplate+1)), "larger than"},
		{"large reply", inline("{{range 1000000}}{{$.Message}}{{end}}"), "larger than"},
		{"pipe", config.Errors{Dir: pipe}, "not a regular file"},
		{"link out of the folder", config.Errors{Dir: outside}, "error.json"},
	}
	for _, test := range tests {
		if _, err := Compile(test.errors, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want one with %q", test.name, err, test.want)
		}
	}
}

// What works for the trial and fails for a reply gives way to the built-in document.
func TestTemplateFailsLater(t *testing.T) {
	for name, text := range map[string]string{
		"error":     `{{if eq .StatusCode 418}}{{index .Message 99}}{{end}}`,
		"too large": `{{if eq .StatusCode 418}}{{range 1000000}}{{$.Message}}{{end}}{{end}}`,
	} {
		x := exchange("GET", "text/xml")
		mustCompile(t, config.Errors{Templates: []config.ErrorTemplate{{Type: config.TemplateXML, Text: text}}}).Render(x, sdk.Errorf(418, "m"))
		if got := string(x.Response().Body()); x.Response().Status() != 418 || !strings.HasSuffix(got, "\n<error>m</error>") {
			t.Errorf("%s: got %d %q", name, x.Response().Status(), got)
		}
	}
}

// Whatever the message, the document is well formed and says just that.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		"plain", `"}, "admin": true, "x": "`, "</error><admin/>", "]]>", "<!--", "&lt;&#0;", "a\x00\x01\x1f\x7f\r\n\t", "\xff\xfe", "\u2028\u2029\ufffe\uffff", "'\"<>&\\",
		"{{.StatusCode}}", "é世🎉",
	} {
		f.Add(s)
	}
	templated := mustCompile(f, config.Errors{Templates: []config.ErrorTemplate{
		{Text: `{"error": "{{.Message}}"}`}, {Type: config.TemplateXML, Text: `<error a="{{.Message}}" b='{{.Message}}'>{{.Message}}</error>`},
	}})
	f.Fuzz(func(t *testing.T, message string) {
		if message == "" || len(message) > maxMessage {
			return
		}
		for _, r := range []*Renderer{{}, templated} {
			x := exchange("GET", "")
			r.Render(x, &sdk.Error{Status: 400, Message: message})
			var object map[string]string
			if err := json.Unmarshal(x.Response().Body(), &object); err != nil || len(object) != 1 || object["error"] != strings.ToValidUTF8(message, "\ufffd") && !badUTF8(message, object["error"]) {
				t.Errorf("%q: %q: %v", message, x.Response().Body(), err)
			}
			x = exchange("GET", "text/xml")
			r.Render(x, &sdk.Error{Status: 400, Message: message})
			var element struct {
				XMLName xml.Name   `xml:"error"`
				Attrs   []xml.Attr `xml:",any,attr"`
				Text    string     `xml:",chardata"`
				Below   []struct{} `xml:",any"`
			}
			err := xml.Unmarshal(x.Response().Body(), &element)
			if err != nil || element.Text != asXML(message) || len(element.Below) > 0 {
				t.Errorf("%q: %q: %v", message, x.Response().Body(), err)
			}
			for _, a := range element.Attrs {
				if a.Value != element.Text {
					t.Errorf("%q: attribute %q", message, a.Value)
				}
			}
		}
	})
}

// badUTF8 compares rune by rune: of a run of bad bytes each becomes a replacement.
func badUTF8(message, got string) bool { return string([]rune(message)) == got }

// asXML is the message as encoding/xml would carry it.
func asXML(message string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(message)); err != nil {
		return err.Error()
	}
	var text string
	if err := xml.Unmarshal([]byte("<a>"+b.String()+"</a>"), &text); err != nil {
		return err.Error()
	}
	return text
}

func BenchmarkRender(b *testing.B) {
	templated := mustCompile(b, config.Errors{Templates: []config.ErrorTemplate{{Text: `{"code": {{.StatusCode}}, "error": "{{.Message}}"}`}}})
	for _, bench := range []struct {
		name string
		r    *Renderer
		e    *sdk.Error
	}{
		{"built-in", &Renderer{}, sdk.Errorf(403, "Forbidden")},
		{"prepared", templated, sdk.Errorf(403, "Forbidden")},
		{"template", templated, sdk.Errorf(403, "for a reason of its own")},
	} {
		b.Run(bench.name, func(b *testing.B) {
			x := exchange("GET", "application/json")
			b.ReportAllocs()
			for b.Loop() {
				bench.r.Render(x, bench.e)
			}
		})
	}
}
