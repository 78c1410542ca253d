package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func fields(lines ...string) []sdk.Field {
	list := []sdk.Field{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		list = append(list, sdk.Field{Name: name, Value: value})
	}
	return list
}

// change reads "-X" as a removal, "X: v" as a set.
func change(lines ...string) config.HeaderChange {
	var c config.HeaderChange
	for _, line := range lines {
		if name, ok := strings.CutPrefix(line, "-"); ok {
			c.Remove = append(c.Remove, name)
			continue
		}
		f := fields(line)[0]
		c.Set = append(c.Set, config.Header(f))
	}
	return c
}

func onPath(pattern string, request, response config.HeaderChange) config.PathHeaderChange {
	return config.PathHeaderChange{PathMatch: matches(pattern)[0], Request: request, Response: response}
}

func TestHeaders(t *testing.T) {
	none := config.HeaderChange{}
	tests := []struct {
		name           string
		api, version   config.HeaderTransforms
		method, path   string
		before, wanted []sdk.Field
		host           string
	}{
		{
			name: "remove before set", api: config.HeaderTransforms{Request: change("A: new", "-a", "-B")},
			before: fields("A: 1", "B: 2", "C: 3", "a: 4"), wanted: fields("C: 3", "A: new"),
		},
		{
			name: "set replaces all", api: config.HeaderTransforms{Request: change("A: new")},
			before: fields("a: 1", "B: 2", "A: 3"), wanted: fields("B: 2", "A: new"),
		},
		{
			name: "several values", api: config.HeaderTransforms{Request: change("A: 1", "A: 2")},
			before: fields("A: 0"), wanted: fields("A: 1", "A: 2"),
		},
		{
			name:    "api, version, path",
			api:     config.HeaderTransforms{Request: change("A: api", "B: api"), Paths: []config.PathHeaderChange{onPath("/x", change("C: api path", "B: path"), none)}},
			version: config.HeaderTransforms{Request: change("-B", "A: version"), Paths: []config.PathHeaderChange{onPath("/*", change("C: version path"), none)}},
			path:    "/x", before: fields("A: 0"), wanted: fields("A: version", "B: path", "C: version path"),
		},
		{
			name: "method and path", method: "POST", path: "/y/%2e%2e/x%20y",
			api: config.HeaderTransforms{Paths: []config.PathHeaderChange{
				onPath("GET /x y", change("A: get"), none), onPath("POST /x y", change("A: post"), none), onPath("/z", change("A: z"), none),
			}},
			wanted: fields("A: post"),
		},
		{
			name: "host", api: config.HeaderTransforms{Request: change("host: a.example", "-Connection", "-content-length")},
			before: fields("Connection: keep-alive"), wanted: fields("Connection: keep-alive"), host: "a.example",
		},
		{name: "nothing for requests", api: config.HeaderTransforms{Response: change("A: 1")}, before: fields("A: 0"), wanted: fields("A: 0")},
		{name: "nothing", before: fields("A: 0"), wanted: fields("A: 0")},
	}
	for _, test := range tests {
		h, err := CompileHeaders(test.api, test.version)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		var f flow.Flow
		f.X.Request().Fill(sdk.RequestInit{Method: test.method, Path: "/other"})
		f.X.Begin(sdk.Pre, nil, true)
		for _, field := range test.before {
			f.X.Request().Header().Append(field.Name, field.Value)
		}
		h.Request(&f, test.path, nil)
		if diff := cmp.Diff(test.wanted, append([]sdk.Field{}, f.X.Request().Header().Fields()...)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
		if f.Out.Host != test.host || f.X.Changes() != 0 || len(f.X.Request().Header().HeaderOps()) != 0 {
			t.Errorf("%s: host %q, changes %v", test.name, f.Out.Host, f.X.Changes().Names())
		}
	}
}

func TestHeadersResponse(t *testing.T) {
	h, err := CompileHeaders(
		config.HeaderTransforms{Response: change("-Server", "A: api")},
		config.HeaderTransforms{
			Request: change("Q: 1"), Response: change("Host: of a reply"),
			Paths: []config.PathHeaderChange{onPath("GET /x", config.HeaderChange{}, change("A: path"))},
		})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path string
		want         []sdk.Field
	}{
		{"GET", "/y", fields("A: api", "Host: of a reply")},
		{"GET", "/x", fields("Host: of a reply", "A: path")},
		{"POST", "/x", fields("A: api", "Host: of a reply")},
	}
	for _, test := range tests {
		var header sdk.Header
		header.Append("server", "x")
		h.Response(&header, test.method, test.path, nil)
		if diff := cmp.Diff(test.want, header.Fields()); diff != "" {
			t.Errorf("%s %s: (-want +got)\n%s", test.method, test.path, diff)
		}
	}
}

func TestHeadersRefused(t *testing.T) {
	request := func(lines ...string) config.HeaderTransforms {
		return config.HeaderTransforms{Request: change(lines...)}
	}
	response := func(lines ...string) config.HeaderTransforms {
		return config.HeaderTransforms{Response: change(lines...)}
	}
	tests := []struct {
		name string
		h    config.HeaderTransforms
		want string
	}{
		{"connection", request("Connection: close"), "headers.request: set: Connection"},
		{"length", response("content-length: 5"), "headers.response: set: content-length"},
		{"coding", response("Transfer-Encoding: chunked"), "Transfer-Encoding"},
		{"forwarded", request("X-Forwarded-For: 1.2.3.4"), "X-Forwarded-For"},
		{"forwarded removed", request("-x-forwarded-proto"), "remove: x-forwarded-proto"},
		{"host removed", request("-Host"), "remove: Host"},
		{"path request", config.HeaderTransforms{Paths: []config.PathHeaderChange{onPath("/x", change("TE: x"), config.HeaderChange{})}}, "headers.paths: /x: request: set: TE"},
		{"path response", config.HeaderTransforms{Paths: []config.PathHeaderChange{onPath("/x", config.HeaderChange{}, change("TE: x"))}}, "headers.paths: /x: response: set: TE"},
		{"path", config.HeaderTransforms{Paths: []config.PathHeaderChange{onPath("~(", config.HeaderChange{}, config.HeaderChange{})}}, `headers.paths: path "~("`},
	}
	for _, test := range tests {
		if _, err := CompileHeaders(config.HeaderTransforms{}, test.h); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want one with %q", test.name, err, test.want)
		}
	}
	if h, err := CompileHeaders(response("X-Forwarded-For: kept out of requests alone"), config.HeaderTransforms{}); h == nil || err != nil {
		t.Errorf("response: got %v", err)
	}
}
