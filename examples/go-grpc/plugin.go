package main

import (
	"encoding/json"
	"log/slog"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// NewPlugin makes the plugin. Everything it remembers hangs on the value it returns: two of them share nothing.
func NewPlugin(log *slog.Logger) *sdk.Plugin {
	d := &doorman{}
	traffic := &traffic{log: log}
	return &sdk.Plugin{
		Name:    "doorman",
		Version: "1.0.0",
		Hooks: []sdk.HookSpec{
			{Name: "Welcome", Phase: sdk.Pre, Hook: sdk.HookFunc(d.welcome),
				Needs: sdk.Needs{Fields: sdk.NeedNothing}},
			{Name: "CheckToken", Phase: sdk.Auth, Hook: sdk.HookFunc(d.checkToken),
				Needs: sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"Authorization"}}},
			{Name: "TagPlan", Phase: sdk.PostKeyAuth, Hook: sdk.HookFunc(d.tagPlan),
				Needs: sdk.Needs{Fields: sdk.NeedSession}},
			{Name: "Rewrite", Phase: sdk.Post, Hook: sdk.HookFunc(d.rewrite),
				Needs: sdk.Needs{Fields: sdk.NeedQuery | sdk.NeedSession}},
			{Name: "Sign", Phase: sdk.ResponsePhase, Hook: sdk.HookFunc(d.sign),
				Needs: sdk.Needs{Fields: sdk.NeedResponseHeaders | sdk.NeedResponseBody | sdk.NeedValues}},
		},
		Observers:    []sdk.ObserverSpec{{Name: "Traffic", Observer: traffic}},
		ConfigSchema: json.RawMessage(configSchema),
		Close:        traffic.close,
	}
}
