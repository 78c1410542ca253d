package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	pluginserver "github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// nativePlugin is a plugin written with the SDK, as its author would. PLUGIN_NAME is how it calls itself.
type nativePlugin struct{ name string }

func runNativePlugin() {
	name := os.Getenv("PLUGIN_NAME")
	if name == "" {
		name = "native"
	}
	p := &nativePlugin{name: name}
	os.Exit(pluginserver.Main(&sdk.Plugin{
		Name: name, Version: "1.2.3",
		Hooks: []sdk.HookSpec{
			{Name: "Trail", Hook: sdk.HookFunc(p.trail)},
			{Name: "Auth", Phase: sdk.Auth, Hook: sdk.HookFunc(p.auth)},
			{Name: "Vouch", Phase: sdk.Auth, Hook: sdk.HookFunc(p.vouch)},
			{Name: "Edit", Phase: sdk.Post, Hook: sdk.HookFunc(p.edit), Needs: sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody}},
			{Name: "Reply", Phase: sdk.ResponsePhase, Hook: sdk.HookFunc(p.reply), Needs: sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedResponseBody}},
			{Name: "Decide", Hook: sdk.HookFunc(p.decide)},
			{Name: "Trace", Hook: sdk.HookFunc(p.trace)},
			{Name: "Hold", Hook: sdk.HookFunc(p.hold)},
		},
		Observers: []sdk.ObserverSpec{{Name: "Watch", Observer: sdk.ObserverFunc(p.watch)}},
	}))
}

// trail leaves a mark in a header and a value, and tells what it knows of the caller.
func (p *nativePlugin) trail(_ context.Context, x *sdk.Exchange) error {
	mark := string(x.Value("mark")) + "/" + x.Phase().String()
	x.SetValue("mark", []byte(mark))
	h := x.Request().Header()
	if x.Phase() == sdk.ResponsePhase {
		h = x.Response().Header()
	}
	h.Set("X-Trail", mark)
	h.Set("X-From", p.name)
	if c := x.Config(); len(c) > 0 {
		h.Set("X-Config", string(c))
	}
	if s := x.Session(); s != nil {
		h.Set("X-Alias", s.Alias)
	}
	return nil
}

// trace tells the trace context that came with the call.
func (p *nativePlugin) trace(_ context.Context, x *sdk.Exchange) error {
	h := x.Request().Header()
	if x.Phase() == sdk.ResponsePhase {
		h = x.Response().Header()
	}
	h.Set("X-Trace-"+x.Phase().String(), x.Trace().Parent)
	return nil
}

func (p *nativePlugin) auth(_ context.Context, x *sdk.Exchange) error {
	switch key := x.Request().Header().Get("Authorization"); key {
	case "":
		return nil // nobody: the gateway refuses
	case "good":
		x.Authenticate(key, "ali")
		return nil
	default:
		return &sdk.Error{Status: 403, Message: "unknown key " + key, Header: []sdk.Field{{Name: "X-Reason", Value: "key"}}}
	}
}

// vouch lets in who says the word, whoever that is besides.
func (p *nativePlugin) vouch(_ context.Context, x *sdk.Exchange) error {
	if x.Request().Header().Get("X-Word") != "friend" {
		return &sdk.Error{Status: 403, Message: "no friend"}
	}
	x.Authenticate("friend", "a friend")
	return nil
}

func (p *nativePlugin) edit(_ context.Context, x *sdk.Exchange) error {
	r := x.Request()
	r.SetMethod("PUT")
	r.SetPath(r.Path() + "/edited")
	r.Query().Add("b", "2")
	r.Query().Del("a")
	r.Header().Add("X-Many", "1")
	r.Header().Add("X-Many", "2")
	r.Header().Del("X-Gone")
	r.SetBody(append(r.Body(), "+native"...))
	return nil
}

func (p *nativePlugin) reply(_ context.Context, x *sdk.Exchange) error {
	r := x.Response()
	r.Header().Set("X-Seen", fmt.Sprint(r.Status()))
	r.Header().Del("X-Upstream")
	r.SetStatus(203)
	r.SetBody(append([]byte("native saw it\n"), r.Body()...))
	return nil
}

// decide does what the request's X-Do header says.
func (p *nativePlugin) decide(ctx context.Context, x *sdk.Exchange) error {
	switch x.Request().Header().Get("X-Do") {
	case "answer":
		x.Answer(202, []byte("from the hook\n")).Header().Set("Content-Type", "text/plain")
	case "refuse":
		return sdk.Errorf(429, "too <many>")
	case "fail":
		return fmt.Errorf("deliberate secret detail")
	case "panic":
		panic("deliberate")
	case "crlf":
		x.Request().Header().Set("X-Bad", "a\r\nX-Smuggled: 1")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "die":
		os.Exit(3)
	case "tell":
		x.Count("told", 2)
		x.Log(0, "told by the hook")
	}
	return nil
}

// hold asks the URL of its configuration and waits for the reply, or for the call's end.
func (p *nativePlugin) hold(ctx context.Context, x *sdk.Exchange) error {
	var c struct{ URL string }
	if err := json.Unmarshal(x.Config(), &c); err != nil {
		return err
	}
	url := c.URL + x.Request().Header().Get("X-Hold")
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintf(os.Stdout, "canceled: %v\n", ctx.Err())
		return err
	}
	return resp.Body.Close()
}

// watch writes records and events down.
func (p *nativePlugin) watch(_ context.Context, b sdk.Batch) error {
	for _, r := range b.Records {
		hooks := ""
		for _, h := range r.Hooks {
			hooks += fmt.Sprintf(" %v/%s:%v", h.Phase, h.Name, h.Outcome)
		}
		fmt.Fprintf(os.Stdout, "record %s %s %s status=%d by=%s alias=%s%s\n", r.Route, r.Method, r.Path, r.Status, r.AnsweredBy, r.Alias, hooks)
	}
	for _, e := range b.Events {
		fmt.Fprintf(os.Stdout, "event %s %s %s\n", e.Type, e.Route, e.Message)
	}
	return nil
}
