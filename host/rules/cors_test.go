package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const site = "https://a.example"

// The cases of the Fetch standard: "HTTP requests", "HTTP responses", "CORS check" and "CORS-preflight fetch".
func TestCORSPreflight(t *testing.T) {
	vary := fields("Vary: Origin", "Vary: Access-Control-Request-Method", "Vary: Access-Control-Request-Headers")
	named := config.CORS{Enabled: true, Origins: []string{site}, Methods: []string{"GET", "PUT"}, Headers: []string{"X-A", "Authorization"}, MaxAge: 90 * time.Second}
	credentials := named
	credentials.Credentials = true
	loose := config.CORS{Enabled: true, Headers: []string{"*"}, Credentials: true, Methods: []string{"*"}, MaxAge: -1}
	granted := "Access-Control-Allow-Origin: " + site
	tests := []struct {
		name    string
		cors    config.CORS
		request []string
		want    []sdk.Field // beside Vary; nil: refused
	}{
		{"allowed", named, []string{"Origin: " + site, "Access-Control-Request-Method: PUT"},
			fields(granted, "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Headers: X-A, Authorization", "Access-Control-Max-Age: 90")},
		{"headers allowed in any case", named, []string{"Origin: " + site, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization,x-a"},
			fields(granted, "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Headers: X-A, Authorization", "Access-Control-Max-Age: 90")},
		{"credentials", credentials, []string{"Origin: " + site, "Access-Control-Request-Method: PUT"},
			fields(granted, "Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Headers: X-A, Authorization", "Access-Control-Max-Age: 90")},
		{"other origin", named, []string{"Origin: https://b.example", "Access-Control-Request-Method: PUT"}, nil},
		{"other scheme", named, []string{"Origin: http://a.example", "Access-Control-Request-Method: PUT"}, nil},
		{"other port", named, []string{"Origin: https://a.example:8443", "Access-Control-Request-Method: PUT"}, nil},
		{"null origin", named, []string{"Origin: null", "Access-Control-Request-Method: PUT"}, nil},
		{"other method", named, []string{"Origin: " + site, "Access-Control-Request-Method: DELETE"}, nil},
		{"method of other case", named, []string{"Origin: " + site, "Access-Control-Request-Method: put"}, nil},
		{"other header", named, []string{"Origin: " + site, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b"}, nil},
		{"other header in a second line", named, []string{"Origin: " + site, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a", "Access-Control-Request-Headers: x-b"}, nil},
		{"default methods", config.CORS{Enabled: true, Origins: []string{site}}, []string{"Origin: " + site, "Access-Control-Request-Method: POST"},
			fields(granted, "Access-Control-Allow-Methods: GET, POST, HEAD")},
		{"default headers", config.CORS{Enabled: true, Origins: []string{site}}, []string{"Origin: " + site, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"}, nil},
		{"anything, without credentials", loose, []string{"Origin: null", "Access-Control-Request-Method: PURGE", "Access-Control-Request-Headers: authorization, X-Z"},
			fields("Access-Control-Allow-Origin: *", "Access-Control-Allow-Methods: PURGE", "Access-Control-Allow-Headers: authorization, X-Z", "Access-Control-Max-Age: 0")},
		{"anything but garbage", loose, []string{"Origin: x", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: a b"}, nil},
		{"any method but garbage", loose, []string{"Origin: x", "Access-Control-Request-Method: a b"}, nil},
	}
	for _, test := range tests {
		x := exchange("OPTIONS", "/", test.request...)
		d := CompileCORS(test.cors).Begin(x.Request())
		if !d.Preflight || d.Passthrough {
			t.Errorf("%s: got %+v", test.name, d)
			continue
		}
		d.Answer(x)
		d.Apply(x.Response().Header()) // must add nothing
		if diff := cmp.Diff(append(vary[:3:3], test.want...), x.Response().Header().Fields()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
		if r := x.Response(); r.Status() != 204 || len(r.Body()) != 0 || !r.Buffered() {
			t.Errorf("%s: status %d, body %q", test.name, r.Status(), r.Body())
		}
	}
}

func TestCORSApply(t *testing.T) {
	named := config.CORS{Enabled: true, Origins: []string{"https://b.example", site}, Exposed: []string{"X-A", "X-B"}}
	credentials := config.CORS{Enabled: true, Origins: []string{site}, Credentials: true}
	everyone := config.CORS{Enabled: true, Origins: []string{site, "*"}, Credentials: true, Exposed: []string{"X-A"}}
	tests := []struct {
		name   string
		cors   config.CORS
		method string
		origin string
		reply  []sdk.Field
		want   []sdk.Field
	}{
		{"off", config.CORS{Origins: []string{site}}, "GET", site, fields("Access-Control-Allow-Origin: *"), fields("Access-Control-Allow-Origin: *")},
		{"allowed", named, "GET", site, nil, fields("Vary: Origin", "Access-Control-Allow-Origin: "+site, "Access-Control-Expose-Headers: X-A, X-B")},
		{"no origin", named, "GET", "", nil, fields("Vary: Origin")},
		{"refused", named, "GET", "https://c.example", nil, fields("Vary: Origin")},
		{"method outside the list", named, "DELETE", site, nil, fields("Vary: Origin", "Access-Control-Allow-Origin: "+site, "Access-Control-Expose-Headers: X-A, X-B")},
		{"credentials", credentials, "GET", site, nil, fields("Vary: Origin", "Access-Control-Allow-Origin: "+site, "Access-Control-Allow-Credentials: true")},
		{"everyone", everyone, "GET", "null", nil, fields("Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-A")},
		{"everyone, no origin", everyone, "GET", "", nil, fields("Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-A")},
		{"upstream allows too much", named, "GET", "https://c.example", fields("access-control-allow-origin: *", "Access-Control-Allow-Credentials: true", "X: 1", "Access-Control-Expose-Headers: Z"), fields("X: 1", "Vary: Origin")},
		{"upstream varies", named, "GET", "", fields("Vary: Accept, origin"), fields("Vary: Accept, origin")},
		{"upstream varies by all", named, "GET", "", fields("Vary: *"), fields("Vary: *")},
		{"upstream varies by another", named, "GET", "", fields("Vary: Accept"), fields("Vary: Accept", "Vary: Origin")},
		{"OPTIONS of no preflight", named, "OPTIONS", site, nil, fields("Vary: Origin", "Access-Control-Allow-Origin: "+site, "Access-Control-Expose-Headers: X-A, X-B")},
	}
	for _, test := range tests {
		var request []string
		if test.origin != "" {
			request = []string{"Origin: " + test.origin}
		}
		x := exchange(test.method, "/", request...)
		d := CompileCORS(test.cors).Begin(x.Request())
		if d.Preflight || d.Passthrough {
			t.Errorf("%s: got %+v", test.name, d)
		}
		x.Request().Header().Reset() // what hooks do to the request does not matter
		var h sdk.Header
		for _, f := range test.reply {
			h.Append(f.Name, f.Value)
		}
		d.Apply(&h)
		if diff := cmp.Diff(test.want, h.Fields()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestCORSOrigins(t *testing.T) {
	tests := []struct {
		allowed, origin string
		want            bool
	}{
		{site, site, true},
		{"HTTPS://A.example", site, true},
		{"https://*.example.com", "https://a.example.com", true},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://a.example.com.evil.net", false},
		{"https://*.example.com", "https://evil.net/.example.com", false},
		{"https://*.example.com", "https://user@x.example.com", false},
		{"https://*.example.com", "http://a.example.com", false},
		{"http*://a.example", "https://a.example", true},
		{"http*://a.example", "http://evil.net://a.example", false},
		{"http://localhost:*", "http://localhost:3000", true},
		{"http://localhost:*", "http://localhost", false},
		{"https://ab*ba.example", "https://aba.example", false},
		{"null", "null", true},
		{"*", "null", true},
	}
	for _, test := range tests {
		c := CompileCORS(config.CORS{Enabled: true, Origins: []string{test.allowed}})
		if got := c.allows(test.origin); got != test.want {
			t.Errorf("%s allows %s: got %t", test.allowed, test.origin, got)
		}
	}
}

func TestCORSPassthrough(t *testing.T) {
	c := CompileCORS(config.CORS{Enabled: true, Origins: []string{site}, Passthrough: true})
	ask := []string{"Origin: " + site, "Access-Control-Request-Method: POST"}
	tests := []struct {
		name    string
		request []string
		reply   []sdk.Field
		want    string // names of the fields
	}{
		{"upstream answers", ask, fields("Access-Control-Allow-Origin: https://other.example"), "Access-Control-Allow-Origin"},
		{"upstream does not", ask, nil, "Vary Vary Vary Access-Control-Allow-Origin Access-Control-Allow-Methods"},
		{"nor does the gateway", []string{"Origin: x", ask[1]}, nil, "Vary Vary Vary"},
		{"no preflight", []string{"Origin: " + site}, nil, "Vary Access-Control-Allow-Origin"},
	}
	for _, test := range tests {
		d := c.Begin(exchange("OPTIONS", "/", test.request...).Request())
		if d.Preflight || !d.Passthrough {
			t.Errorf("%s: got %+v", test.name, d)
		}
		var h sdk.Header
		for _, f := range test.reply {
			h.Append(f.Name, f.Value)
		}
		d.Apply(&h)
		var names []string
		for name := range h.All() {
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if d := c.Begin(exchange("GET", "/", ask...).Request()); d.Passthrough || d.Preflight {
		t.Errorf("GET: got %+v", d)
	}
}
