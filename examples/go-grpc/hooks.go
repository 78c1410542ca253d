package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// doorman holds the hooks. They are called concurrently.
type doorman struct{ configs configs }

// welcome answers the health path and, during maintenance, everything; other requests it marks with their id.
func (d *doorman) welcome(_ context.Context, x *sdk.Exchange) error {
	cfg, err := d.configs.of(x)
	if err != nil {
		return err // a failure: the client reads the gateway's words, the log ours
	}
	r := x.Request()
	switch {
	case strings.HasSuffix(r.Path(), "/healthz"):
		x.Answer(200, []byte(`{"status":"ok"}`)).Header().Set("Content-Type", "application/json")
	case cfg.Maintenance != "":
		return &sdk.Error{Status: 503, Message: cfg.Maintenance, Header: []sdk.Field{{Name: "Retry-After", Value: "120"}}}
	default:
		r.Header().Set("X-Shop-Request", x.RequestID())
	}
	return nil
}

// checkToken lets callers in whose bearer token the configuration knows.
func (d *doorman) checkToken(_ context.Context, x *sdk.Exchange) error {
	cfg, err := d.configs.of(x)
	if err != nil {
		return err
	}
	scheme, token, _ := strings.Cut(x.Request().Header().Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		x.Count("no_token", 1)
		return &sdk.Error{Status: 401, Message: "send a bearer token",
			Header: []sdk.Field{{Name: "WWW-Authenticate", Value: `Bearer realm="shop"`}}}
	}
	who, ok := cfg.Tokens[token]
	switch {
	case !ok:
		x.Count("unknown_token", 1)
		return sdk.Errorf(403, "unknown token")
	case who.Blocked:
		x.Log(slog.LevelWarn, "blocked caller "+who.Name)
		return sdk.Errorf(403, "%s is blocked", who.Name)
	}
	x.SetSession(&sdk.Session{KeyID: token, Alias: who.Name, Metadata: map[string]string{"plan": who.Plan}})
	return nil
}

// tagPlan tells the upstream and later hooks who calls, and keeps the token from the upstream.
func (d *doorman) tagPlan(_ context.Context, x *sdk.Exchange) error {
	s := x.Session()
	if s == nil {
		return nil // the route asks nobody who they are
	}
	h := x.Request().Header()
	h.Del("Authorization")
	h.Set("X-Shop-Caller", s.Alias)
	if plan := s.Metadata["plan"]; plan != "" {
		h.Set("X-Shop-Plan", plan)
		data, err := json.Marshal(plan)
		if err != nil {
			return err
		}
		x.SetValue("plan", data)
	}
	return nil
}

// rewrite takes the version off the path and keeps debugging to callers of the gold plan.
func (d *doorman) rewrite(_ context.Context, x *sdk.Exchange) error {
	cfg, err := d.configs.of(x)
	if err != nil {
		return err
	}
	r := x.Request()
	if v := cfg.StripVersion; v != "" {
		before, after, found := strings.Cut(r.Path(), v)
		if found && (after == "" || after[0] == '/') {
			r.SetPath("/" + strings.TrimPrefix(before+after, "/"))
		}
	}
	if s := x.Session(); s == nil || s.Metadata["plan"] != "gold" {
		r.Query().Del("debug")
	}
	return nil
}

// sign marks replies and, when the body is a JSON object, puts the caller's plan into it.
func (d *doorman) sign(_ context.Context, x *sdk.Exchange) error {
	r := x.Response()
	r.Header().Set("X-Shop-Doorman", "1.0.0")
	plan := x.Value("plan")
	if plan == nil || !strings.HasPrefix(r.Header().Get("Content-Type"), "application/json") {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(r.Body(), &object); err != nil || object == nil {
		return nil // not an object: it goes on as it is
	}
	object["plan"] = plan
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	r.SetBody(body)
	return nil
}
