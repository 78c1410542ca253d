package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

type gateway struct{ ready int }

func (g gateway) Status() host.Status {
	return host.Status{Routes: []host.RouteStatus{{ID: "a", State: "refused", Reason: "because"}, {State: "stale"}, {State: "serving"}}}
}
func (g gateway) Ready() (int, []byte) { return g.ready, []byte(`{"status":"fail"}`) }
func (g gateway) Hello() []byte        { return []byte(`{"status":"fail"}`) }
func (g gateway) Publish(sdk.Event)    {}

func TestControlAPI(t *testing.T) {
	var log strings.Builder
	reloads := 0
	refused := &host.RefusedError{Refusals: []host.Refusal{{ID: "b", File: "b.yaml", State: "stale", Reason: "b.yaml: bad"}}}
	outcomes := []error{nil, refused, errors.Join(errors.New("besides"), refused), fmt.Errorf("now: %w", host.ErrClosing), errors.New("no folder"), refused, nil}
	h, err := New(Options{
		Secret: "s3cret", Gateway: gateway{503},
		Servers: func() any { return []string{"default"} },
		Scripts: func() any { return []string{"hello/hello.js"} },
		Plugins: func() any { return []string{"loggly"} },
		ReplaceServer: func(_ context.Context, name string) error {
			return map[string]error{"sick": errors.New("it was not ready in time"), "nobody": router.Refusef(404, "no plugin server of that name is in use")}[name]
		},
		Reload: func(context.Context) error {
			reloads++
			return outcomes[reloads-1]
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Log:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method, path, header, value string
		status                            int
		body                              string
	}{
		{"hello needs no secret", "GET", "/hello", "", "", 200, "fail"},
		{"ready needs no secret", "GET", "/ready", "", "", 503, "fail"},
		{"no secret", "GET", "/v1/routes", "", "", 403, "invalid or missing key"},
		{"wrong secret", "GET", "/v1/routes", "X-Tyk-Authorization", "s3cret2", 403, "invalid or missing key"},
		{"wrong scheme", "GET", "/v1/routes", "Authorization", "Basic s3cret", 403, "invalid"},
		{"no secret on what is not there", "GET", "/nothing", "", "", 403, "invalid"},
		{"bearer", "GET", "/v1/routes", "Authorization", "Bearer s3cret", 200, "because"},
		{"schemes know no case (RFC 9110 §11.1)", "GET", "/v1/routes", "Authorization", "bearer s3cret", 200, "because"},
		{"tyk's header", "GET", "/v1/routes", "X-Tyk-Authorization", "s3cret", 200, "because"},
		{"servers", "GET", "/v1/servers", "X-Tyk-Authorization", "s3cret", 200, "default"},
		{"replace", "POST", "/v1/servers/fine/replace", "X-Tyk-Authorization", "s3cret", 200, "new processes take the calls"},
		{"replace what does not get ready", "POST", "/v1/servers/sick/replace", "X-Tyk-Authorization", "s3cret", 502, "the processes that were there go on: it was not ready in time"},
		{"replace what is not there", "POST", "/v1/servers/nobody/replace", "X-Tyk-Authorization", "s3cret", 404, "no plugin server of that name"},
		{"ready-made plugins", "GET", "/v1/plugins", "X-Tyk-Authorization", "s3cret", 200, "loggly"},
		{"scripts", "GET", "/v1/scripts", "X-Tyk-Authorization", "s3cret", 200, "hello/hello.js"},
		{"metrics", "GET", "/metrics", "Authorization", "Bearer s3cret", 200, "up 1"},
		{"metrics without secret", "GET", "/metrics", "", "", 403, "invalid"},
		{"reload", "POST", "/v1/reload", "Authorization", "Bearer s3cret", 200,
			`{"status":"ok","message":"","serving":2,"refused":[]}`},
		{"reload, one refused", "POST", "/v1/reload", "Authorization", "Bearer s3cret", 422,
			`"serving":2,"refused":[{"id":"b","file":"b.yaml","state":"stale","reason":"b.yaml: bad"}]}`},
		{"reload, one refused and more", "POST", "/v1/reload", "Authorization", "Bearer s3cret", 422, `{"status":"error","message":"some definitions are refused`},
		{"reload while stopping", "POST", "/v1/reload", "Authorization", "Bearer s3cret", 503,
			`{"status":"error","message":"nothing has changed: now: the gateway is closing","serving":2,"refused":[]}`},
		{"reload of nothing", "POST", "/v1/reload", "Authorization", "Bearer s3cret", 500, `"message":"nothing has changed: no folder"`},
		{"reload as tyk, one refused", "GET", "/tyk/reload/", "X-Tyk-Authorization", "s3cret", 200, `{"status":"ok","message":""}`},
		{"reload as tyk", "GET", "/tyk/reload", "X-Tyk-Authorization", "s3cret", 200, `{"status":"ok","message":""}`},
		{"reload by GET", "GET", "/v1/reload", "Authorization", "Bearer s3cret", 405, "Method not supported: this path takes POST"},
		{"wrong method", "DELETE", "/v1/routes", "Authorization", "Bearer s3cret", 405, "Method not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, nil)
			if tt.header != "" {
				r.Header.Set(tt.header, tt.value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			got := w.Body.String()
			var compact bytes.Buffer
			if json.Compact(&compact, w.Body.Bytes()) == nil {
				got = compact.String()
			}
			if w.Code != tt.status || !strings.Contains(got, tt.body) {
				t.Errorf("got %d %s, want %d with %q", w.Code, got, tt.status, tt.body)
			}
			if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("not JSON: %s", w.Body)
			}
		})
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Error("the secret is in the audit log")
	}
	if got := strings.Count(log.String(), "status=403"); got != 5 {
		t.Errorf("got %d audit lines of refusals, want 5", got)
	}
	if _, err := New(Options{Gateway: gateway{}}); err == nil {
		t.Error("a control API without secret was made")
	}
}
