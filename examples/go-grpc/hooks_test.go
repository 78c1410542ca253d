package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

const testConfig = `{
  "strip_version": "/v1",
  "tokens": {
    "t-ada":  {"name": "ada", "plan": "gold"},
    "t-bob":  {"name": "bob"},
    "t-evil": {"name": "evil", "blocked": true}
  }
}`

func testPlugin() *sdk.Plugin { return NewPlugin(slog.New(slog.NewTextHandler(io.Discard, nil))) }

func TestWelcome(t *testing.T) {
	tests := []struct {
		name, target, config string
		status               int
		body, header         string
	}{
		{"marks requests", "/shop/orders", testConfig, 0, "", "test-request"},
		{"answers the health path", "/shop/healthz", testConfig, 200, `{"status":"ok"}`, ""},
		{"answers it during maintenance too", "/shop/healthz", `{"maintenance":"back at noon"}`, 200, `{"status":"ok"}`, ""},
		{"refuses during maintenance", "/shop/orders", `{"maintenance":"back at noon"}`, 503, "", ""},
		{"needs no configuration", "/shop/orders", "", 0, "", "test-request"},
		{"fails on a wrong configuration", "/shop/orders", `{"maintenence":"typo"}`, 503, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := sdktest.Request("GET", tt.target).Config(tt.config).Run(t, testPlugin(), sdk.Pre, "Welcome")
			if r.Status() != tt.status || string(r.After.Response.Body) != tt.body {
				t.Errorf("got %d %q (%v), want %d %q", r.Status(), r.After.Response.Body, r.Err, tt.status, tt.body)
			}
			if got := r.RequestHeader("X-Shop-Request"); got != tt.header {
				t.Errorf("got X-Shop-Request %q, want %q", got, tt.header)
			}
		})
	}
}

func TestCheckToken(t *testing.T) {
	tests := []struct {
		name, authorization string
		status              int
		alias               string
		counter             string
	}{
		{"no token", "", 401, "", "no_token"},
		{"another scheme", "Basic YTpi", 401, "", "no_token"},
		{"unknown token", "Bearer nobody", 403, "", "unknown_token"},
		{"blocked caller", "Bearer t-evil", 403, "", ""},
		{"known token", "Bearer t-ada", 0, "ada", ""},
		{"scheme in lower case", "bearer t-bob", 0, "bob", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := sdktest.Request("GET", "/orders").Config(testConfig)
			if tt.authorization != "" {
				b.Header("Authorization", tt.authorization)
			}
			r := b.Run(t, testPlugin(), sdk.Auth, "CheckToken")
			if r.Status() != tt.status {
				t.Errorf("got status %d (%v), want %d", r.Status(), r.Err, tt.status)
			}
			if tt.status == 401 && r.ResponseHeader("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
			if got := r.After.Session; got.Identified() != (tt.alias != "") || got.Identified() && got.Alias != tt.alias {
				t.Errorf("got session %+v, want alias %q", got, tt.alias)
			}
			if tt.counter != "" && r.Counters[tt.counter] != 1 {
				t.Errorf("got counters %v, want %s", r.Counters, tt.counter)
			}
		})
	}
}

func TestTagPlan(t *testing.T) {
	p := testPlugin()
	ada := &sdk.Session{KeyID: "t-ada", Alias: "ada", Metadata: map[string]string{"plan": "gold"}}
	r := sdktest.Request("GET", "/orders").Header("Authorization", "Bearer t-ada").Session(ada).Run(t, p, sdk.PostKeyAuth, "TagPlan")
	if r.Err != nil || r.RequestHeader("X-Shop-Caller") != "ada" || r.RequestHeader("X-Shop-Plan") != "gold" {
		t.Errorf("got %v, %v", r.After.Request.Header, r.Err)
	}
	if r.RequestHeader("Authorization") != "" {
		t.Error("the upstream sees the token")
	}
	if r.After.Values["plan"] != `"gold"` {
		t.Errorf("got values %v", r.After.Values)
	}
	if r := sdktest.Request("GET", "/orders").Run(t, p, sdk.PostKeyAuth, "TagPlan"); r.Err != nil || r.Changed != 0 {
		t.Errorf("changed %v of a request from nobody, %v", r.Changed.Names(), r.Err)
	}
}

func TestRewrite(t *testing.T) {
	gold := &sdk.Session{KeyID: "k", Metadata: map[string]string{"plan": "gold"}}
	tests := []struct {
		name, target string
		session      *sdk.Session
		path, query  string
	}{
		{"takes the version off", "/shop/v1/orders?page=2", nil, "/shop/orders", "page=2"},
		{"at the end too", "/v1", nil, "/", ""},
		{"whole segments only", "/shop/v10/orders", nil, "/shop/v10/orders", ""},
		{"keeps slashes and escapes", "/shop/v1/a%2Fb/", nil, "/shop/a%2Fb/", ""},
		{"no debugging for others", "/orders?a=1&debug=1&b=%zz", nil, "/orders", "a=1&b=%zz"},
		{"debugging for gold", "/orders?debug=1", gold, "/orders", "debug=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := sdktest.Request("GET", tt.target).Config(testConfig).Session(tt.session)
			r := b.Run(t, testPlugin(), sdk.Post, "Rewrite")
			if r.Err != nil || r.After.Request.Path != tt.path || r.After.Request.Query != tt.query {
				t.Errorf("got %s ? %s, %v", r.After.Request.Path, r.After.Request.Query, r.Err)
			}
		})
	}
}

func TestSign(t *testing.T) {
	json := sdk.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"}
	tests := []struct {
		name, body, plan string
		header           []sdk.Field
		want             string
	}{
		{"adds the plan", `{"total":1.50}`, `"gold"`, []sdk.Field{json}, `{"plan":"gold","total":1.50}`},
		{"nobody's reply", `{"total":1}`, "", []sdk.Field{json}, `{"total":1}`},
		{"no object", `[1]`, `"gold"`, []sdk.Field{json}, `[1]`},
		{"broken", `{"a":`, `"gold"`, []sdk.Field{json}, `{"a":`},
		{"null", `null`, `"gold"`, []sdk.Field{json}, `null`},
		{"no JSON", `{"a":1}`, `"gold"`, nil, `{"a":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := sdktest.Request("GET", "/orders").Reply(200, tt.body, tt.header...)
			if tt.plan != "" {
				b.Value("plan", tt.plan)
			}
			r := b.Run(t, testPlugin(), sdk.ResponsePhase, "Sign")
			if r.Err != nil || string(r.After.Response.Body) != tt.want {
				t.Errorf("got %q, %v, want %q", r.After.Response.Body, r.Err, tt.want)
			}
			if r.ResponseHeader("X-Shop-Doorman") == "" {
				t.Error("the reply is not signed")
			}
		})
	}
}

func TestTraffic(t *testing.T) {
	var log strings.Builder
	p := NewPlugin(slog.New(slog.NewTextHandler(&log, nil)))
	err := sdktest.Observe(t, p, "Traffic", sdk.Batch{
		Records: []sdk.Record{{Status: 200}, {Status: 204}, {Status: 401}, {Status: 502, Path: "/orders"}},
		Events:  []sdk.Event{{Type: sdk.EventAuthFailure}},
		Dropped: 7,
	})
	if err := errors.Join(err, p.Close()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"path=/orders status=502", "type=AuthFailure", "2xx=2 3xx=0 4xx=1 5xx=1 events=1 dropped=7"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}
