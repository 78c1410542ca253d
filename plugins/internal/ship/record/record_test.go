package record

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func full() *sdk.Record {
	return &sdk.Record{
		Time: time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600)), Duration: 12345678 * time.Nanosecond, Upstream: 11 * time.Millisecond,
		RequestID: "r1", Trace: sdk.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, Route: "shop", RouteName: "Shop \"1\"", Org: "acme",
		Client: netip.MustParseAddrPort("[::ffff:10.0.0.1]:4711"), Method: "GET", Scheme: "https", Host: "a.example", Path: "/a\\b", Query: "q=1&access_token=s3cret&X=y",
		Proto: "HTTP/1.1", UserAgent: "curl\x01\xff", Status: 502, RequestSize: 1, ReplySize: 2, Target: "http://t", AnsweredBy: "upstream",
		Alias: "ada", KeyHash: "ab12", Tags: []string{"a", "b"}, Error: "line\nbreak",
		Hooks: []sdk.HookRecord{
			{Name: "Check", Server: "s", Phase: sdk.Pre, Outcome: sdk.OutcomeOK, Changed: sdk.ChangedHeader, Duration: 1500 * time.Microsecond},
			{Name: "Sign", Phase: sdk.ResponsePhase, Outcome: sdk.OutcomeTimeout, Error: "late"},
		},
	}
}

func event() *sdk.Event {
	return &sdk.Event{Time: time.Unix(0, 0), Type: sdk.EventAuthFailure, Route: "shop", Org: "acme", RequestID: "r2", Message: "no", Meta: map[string]string{"Key": "s3cret", "Path": "/a"}}
}

func encoder(t testing.TB, o Options) *Encoder {
	t.Helper()
	e, err := NewEncoder(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func checkSchema(t testing.TB) func(b []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("record", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("record")
	if err != nil {
		t.Fatal(err)
	}
	return func(b []byte) {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
		if err == nil {
			err = compiled.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

const wantRecord = `{"kind":"request","time":"2026-11-23T11:00:00.123456Z","request_id":"r1","trace_id":"0af7651916cd43dd8448eb211c80319c",` +
	`"api":{"id":"shop","name":"Shop \"1\"","org":"acme"},` +
	`"request":{"method":"GET","scheme":"https","host":"a.example","path":"/a\\b","query":"q=1&access_token=hidden&X=y","proto":"HTTP/1.1","user_agent":"curl\u0001` + "\ufffd" + `","client":"10.0.0.1","bytes":1},` +
	`"response":{"status":502,"bytes":2,"by":"upstream","target":"http://t"},"timing":{"total_ms":12.345,"upstream_ms":11},` +
	`"key":{"alias":"ada","hash":"ab12"},"tags":["a","b"],"error":"line\nbreak",` +
	`"hooks":[{"name":"Check","server":"s","phase":"pre","outcome":"ok","changed":["header"],"ms":1.500},{"name":"Sign","phase":"response","outcome":"timeout","ms":0,"error":"late"}]}`

func TestEncode(t *testing.T) {
	check := checkSchema(t)
	for _, test := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{}, wantRecord},
		{"some", Options{Only: []string{"time", "kind", "api", "response.status", "timing.upstream_ms"}, Without: []string{"api.name"}},
			`{"kind":"request","time":"2026-11-23T11:00:00.123456Z","api":{"id":"shop","org":"acme"},"response":{"status":502},"timing":{"upstream_ms":11}}`},
		{"secrets of one's own", Options{Only: []string{"kind", "time", "request.query"}, Secret: []string{"Q"}, ShowSecrets: true},
			`{"kind":"request","time":"2026-11-23T11:00:00.123456Z","request":{"query":"q=hidden&access_token=s3cret&X=y"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := encoder(t, test.o).AppendRecord(nil, full())
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
			check(got)
		})
	}
	check(encoder(t, Options{}).AppendRecord(nil, &sdk.Record{Scheme: "http"}))
	got := encoder(t, Options{}).AppendEvent(nil, event())
	check(got)
	const want = `{"kind":"event","time":"1970-01-01T00:00:00.000000Z","type":"AuthFailure","request_id":"r2","api":{"id":"shop","org":"acme"},"message":"no","meta":{"Key":"hidden","Path":"/a"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []Options{{Only: []string{"x"}}, {Without: []string{"api", "api.id"}}, {Secret: []string{"-"}}} {
		if _, err := NewEncoder(wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

func TestQuery(t *testing.T) {
	r, err := newRedactor(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"":                              "",
		"a=b&c":                         "a=b&c",
		"token=x":                       "token=hidden",
		"TOKEN=x&a=1":                   "TOKEN=hidden&a=1",
		"a=1&refresh-token=x;api_key=y": "a=1&refresh-token=hidden;api_key=hidden",
		"p%61ssword=x":                  "p%61ssword=hidden",
		"token=&token":                  "token=&token",
		"monkey=1&tokens=2&code=3":      "monkey=1&tokens=2&code=hidden",
		"X-Amz-Signature=abc&sig=d":     "X-Amz-Signature=hidden&sig=hidden",
		"a=b=token":                     "a=b=token",
	} {
		if got := r.query(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// No secret survives, whatever is beside it.
func FuzzQuery(f *testing.F) {
	r, err := newRedactor(nil, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a=1&token=2;b=%20", "password")
	f.Fuzz(func(t *testing.T, raw, name string) {
		for _, pair := range strings.FieldsFunc(r.query(raw), func(c rune) bool { return c == '&' || c == ';' }) {
			k, v, _ := strings.Cut(pair, "=")
			if plain, err := url.QueryUnescape(k); err == nil && strings.EqualFold(plain, "password") && v != "" && v != Hidden {
				t.Errorf("%q: %q", raw, pair)
			}
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("a\"b\\c\n\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		b := appendString(nil, s)
		if err := json.Unmarshal(b, &back); err != nil || !utf8.Valid(b) {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.ValidString(s) && back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func TestTemplate(t *testing.T) {
	tpl, err := ParseTemplate("gw.{kind}.{type}.{api}.{org}.{method}.{status}.{class}.{key}")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tpl.AppendRecord(nil, full())); got != "gw.request.request.shop.acme.GET.502.5xx.ab12" {
		t.Error(got)
	}
	if got := string(tpl.AppendEvent(nil, event())); got != "gw.event.AuthFailure.shop.acme.none.none.none.none" {
		t.Error(got)
	}
	if got := string(tpl.AppendRecord(nil, &sdk.Record{Route: "a.b c*#>\xff" + strings.Repeat("x", 100)})); got != "gw.request.request.a_b_c____"+strings.Repeat("x", 55)+".none.none.0.none.none" {
		t.Error(got)
	}
	for _, wrong := range []string{"{nope}", "{api", "{}"} {
		if _, err := ParseTemplate(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// The names of fields are those of the schema.
func TestFieldsAreTheSchemas(t *testing.T) {
	var s struct {
		Properties map[string]struct{ Properties map[string]any }
	}
	if err := json.Unmarshal([]byte(Schema()), &s); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, p := range s.Properties {
		for inner := range p.Properties {
			want = append(want, name+"."+inner)
		}
		if p.Properties == nil {
			want = append(want, name)
		}
	}
	got := all()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	e := encoder(b, Options{})
	r := full()
	r.Hooks = r.Hooks[:1]
	r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendRecord(buf[:0], r)
	}
	b.SetBytes(int64(len(buf)))
}
