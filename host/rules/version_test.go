package rules

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func exchange(method, target string, fields ...string) *sdk.Exchange {
	var x sdk.Exchange
	path, query, _ := strings.Cut(target, "?")
	x.Request().Fill(sdk.RequestInit{Method: method, Path: path, Query: query, Length: -1})
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Request().Header().Append(name, value)
	}
	return &x
}

// What names the version is taken off when it is to be; nothing else is touched.
func TestVersionsStrip(t *testing.T) {
	list := []config.Version{{Name: "v1"}, {Name: "v2"}}
	for _, test := range []struct {
		in           config.VersionLocation
		target, want string
		headers      string // that are left
		listen       string
	}{
		{config.VersionInHeader, "/api/v1?v=v1", "/api/v1?v=v1", "X-Other", "/api"},
		{config.VersionInQuery, "/api/v1?a=%20&v=v1&b+c&v=v1", "/api/v1?a=%20&b+c", "V,V,X-Other", "/api"},
		{config.VersionInQuery, "/api/v1?v=v1", "/api/v1", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/api/v1/x%2Fy//z?v=v1", "/api/x%2Fy//z?v=v1", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/api/v1/", "/api/", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/api/v1", "/api", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/api/%761/x", "/api/x", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/%61pi/v1/x", "/%61pi/x", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/v1/v1", "/v1", "V,V,X-Other", "/"},
		{config.VersionInPath, "/v1", "/", "V,V,X-Other", "/"},
		{config.VersionInPath, "/api/", "/api/", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/api", "/api", "V,V,X-Other", "/api"},
		{config.VersionInPath, "/apiv1/x", "/api/x", "V,V,X-Other", "/api"}, // by prefix
	} {
		v := config.Versions{In: test.in, Key: "v", Default: "v1", List: list, Strip: true}
		for _, strip := range []bool{true, false} {
			x := exchange("GET", test.target, "V: v1", "v: v1", "X-Other: 1")
			v.Strip = strip
			c := CompileVersions(v)
			if _, err := c.Pick(x, test.listen, time.Now()); err != nil {
				t.Fatalf("%s: %v", test.target, err)
			}
			c.Strip(x, test.listen)
			var names []string
			for _, f := range x.Request().Header().Fields() {
				names = append(names, http.CanonicalHeaderKey(f.Name))
			}
			want, headers := test.want, test.headers
			if !strip {
				want, headers = test.target, "V,V,X-Other"
			}
			if got := x.Request().Target(); got != want || strings.Join(names, ",") != headers || x.Invalid() != nil {
				t.Errorf("%s, strip %v: got %s with %s, want %s with %s (%v)", test.target, strip, got, names, want, headers, x.Invalid())
			}
		}
	}
}

func TestVersionsPick(t *testing.T) {
	const none, unknown, expired = "Version information not found", "This API version does not seem to exist", "This API version has expired"
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	list := []config.Version{{Name: "v1"}, {Name: "v2"}, {Name: "old", Expires: end}}
	header := config.Versions{In: config.VersionInHeader, Key: "X-Version", List: list}
	query := config.Versions{In: config.VersionInQuery, Key: "v", List: list}
	inPath := config.Versions{In: config.VersionInPath, List: list}
	with := func(v config.Versions, name string) config.Versions { v.Default = name; return v }
	single := config.Versions{List: []config.Version{{Name: "Default"}}}
	ended := config.Versions{List: []config.Version{{Name: "Default", Expires: end}}}
	before := end.Add(-time.Nanosecond)
	tests := []struct {
		name    string
		v       config.Versions
		x       *sdk.Exchange
		now     time.Time
		want    int
		message string
	}{
		{"not versioned", single, exchange("GET", "/api/v9", "X-Version: v9"), end, 0, ""},
		{"zero", config.Versions{}, exchange("GET", "/api"), end, 0, ""},
		{"not versioned, not yet expired", ended, exchange("GET", "/api"), before, 0, ""},
		{"not versioned, expired", ended, exchange("GET", "/api"), end, -1, expired},
		{"header", header, exchange("GET", "/api", "x-version: v2"), end, 1, ""},
		{"header missing", header, exchange("GET", "/api"), end, -1, none},
		{"header empty", header, exchange("GET", "/api", "X-Version: "), end, -1, none},
		{"header default", with(header, "v2"), exchange("GET", "/api"), end, 1, ""},
		{"header unknown", with(header, "v2"), exchange("GET", "/api", "X-Version: v3"), end, -1, unknown},
		{"header of other case", header, exchange("GET", "/api", "X-Version: V1"), end, -1, unknown},
		{"header twice the same", header, exchange("GET", "/api", "X-Version: v1", "X-Version: v1"), end, 0, ""},
		{"header twice", header, exchange("GET", "/api", "X-Version: v1", "X-Version: v2"), end, -1, unknown},
		{"expired", header, exchange("GET", "/api", "X-Version: old"), end, -1, expired},
		{"not yet expired", header, exchange("GET", "/api", "X-Version: old"), before, 2, ""},
		{"query", query, exchange("GET", "/api?a=1&v=v%32"), end, 1, ""},
		{"query missing", query, exchange("GET", "/api?a=1"), end, -1, none},
		{"no query", with(query, "v1"), exchange("GET", "/api"), end, 0, ""},
		{"query twice", query, exchange("GET", "/api?v=v1&v=v2"), end, -1, unknown},
		{"query twice the same", query, exchange("GET", "/api?v=v1&%76=v1"), end, 0, ""},
		{"path", inPath, exchange("GET", "/api/v2/x"), end, 1, ""},
		{"path alone", inPath, exchange("GET", "/api/v2"), end, 1, ""},
		{"path escaped", inPath, exchange("GET", "/api/%76%32/x"), end, 1, ""},
		{"path with an escape further on", inPath, exchange("GET", "/api/v2/x%20y"), end, 1, ""},
		{"path unknown", with(inPath, "v1"), exchange("GET", "/api/x"), end, -1, unknown},
		{"path empty", inPath, exchange("GET", "/api"), end, -1, none},
		{"path default", with(inPath, "v1"), exchange("GET", "/api/"), end, 0, ""},
		{"path of two readings", with(inPath, "v1"), exchange("GET", "/api//v2/x"), end, -1, unknown},
		{"path climbs into another", inPath, exchange("GET", "/api/v1/%2e%2e/v2/x"), end, -1, unknown},
		{"path climbs out", inPath, exchange("GET", "/api/v1/../../x"), end, -1, unknown},
		{"path with parameters", inPath, exchange("GET", "/api/v1;x/y"), end, -1, unknown},
		{"path with parameters further on", inPath, exchange("GET", "/api/v1/y;x"), end, 0, ""},
	}
	for _, test := range tests {
		got, err := CompileVersions(test.v).Pick(test.x, "/api", test.now)
		var e *sdk.Error
		message := ""
		if errors.As(err, &e) {
			message = e.Message
			if e.Status != 403 {
				t.Errorf("%s: status %d", test.name, e.Status)
			}
		}
		if got != test.want || message != test.message || (err == nil) != (message == "") {
			t.Errorf("%s: got %d, %v, want %d, %q", test.name, got, err, test.want, test.message)
		}
	}
}
