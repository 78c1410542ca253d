package admin

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// changes are the settings of a gateway that does what it is told to.
type changes struct {
	asked []string
	fail  error
}

var _ Settings = (*changes)(nil)

func (c *changes) List() SettingsState {
	return SettingsState{Changeable: true, ChangesFile: "data/settings.json", Settings: []config.SettingValue{
		{Path: "log.level", Value: "info", Source: config.OriginFile, Where: "turnbuckle.yaml:1"},
		{Path: "access_log.fields", Source: config.OriginDefault},
	}}
}

func (c *changes) Patch(_ context.Context, patch []byte) ([]config.SettingValue, error) {
	return c.change(string(patch))
}

func (c *changes) Unset(_ context.Context, path string) ([]config.SettingValue, error) {
	return c.change(path)
}

func (c *changes) change(what string) ([]config.SettingValue, error) {
	c.asked = append(c.asked, what)
	if c.fail != nil {
		return nil, c.fail
	}
	return []config.SettingValue{{Path: "log.level", Value: "debug", Source: config.OriginChange}}, nil
}

// What the gateway says of its settings is told, to those who may, and what the log says holds no value.
func TestSettings(t *testing.T) {
	f := newFixture(t)
	f.must(200, "GET", "/v1/settings", "", "X-Tyk-Authorization", readToken)
	f.must(403, "GET", "/v1/settings", "", "X-Tyk-Authorization", "nobody's")
	f.must(403, "PATCH", "/v1/settings", `{"log.level":"debug"}`, "X-Tyk-Authorization", readToken)
	f.must(403, "DELETE", "/v1/settings/log.level", "", "X-Tyk-Authorization", readToken)
	if f.changes.asked != nil {
		t.Errorf("a token that reads asked for %v", f.changes.asked)
	}
	got := f.must(200, "PATCH", "/v1/settings", `{"admin.secret":"the-new-one"}`)
	if !strings.Contains(got.body, `"value": "debug"`) {
		t.Errorf("got %s", got.body)
	}
	f.must(200, "DELETE", "/v1/settings/servers.my-auth", "")
	if want := []string{`{"admin.secret":"the-new-one"}`, "servers.my-auth"}; strings.Join(f.changes.asked, "|") != strings.Join(want, "|") {
		t.Errorf("asked %v, want %v", f.changes.asked, want)
	}
	f.must(400, "PATCH", "/v1/settings", "")
	f.must(400, "PATCH", "/v1/settings", strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100))
	f.must(413, "PATCH", "/v1/settings", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	if log := f.logged(); strings.Contains(log, "the-new-one") || !strings.Contains(log, "method=DELETE path=/v1/settings/{setting}") {
		t.Errorf("log:\n%s", log)
	}
}

// Every refusal is told with its status and all its reasons.
func TestSettingsRefused(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		err    error
		status int
		want   string
	}{
		{&RefusedChange{Status: http.StatusBadRequest, Message: "refused", Problems: []string{"one", "two"}}, 400, `"two"`},
		{&RefusedChange{Status: http.StatusConflict, Message: "refused", Problems: []string{"why"}}, 409, "refused: why"},
		{&RefusedChange{Status: http.StatusForbidden, Message: "admin.settings is off"}, 403, "admin.settings is off"},
		{&RefusedChange{Status: http.StatusInternalServerError, Message: "disk full"}, 500, "disk full"},
		{host.ErrClosing, 503, "closing"},
		{context.DeadlineExceeded, 503, ""},
	} {
		f.changes.fail = tt.err
		if got := f.must(tt.status, "PATCH", "/v1/settings", "{}"); !strings.Contains(got.body, tt.want) {
			t.Errorf("%v: got %s", tt.err, got.body)
		}
	}
	f.changes.fail = &RefusedChange{Status: http.StatusNotFound, Message: "there is no setting"}
	f.must(404, "DELETE", "/v1/settings/log.levl", "")
}
