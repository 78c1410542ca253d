// Package admin is the control API: what the gateway tells about itself and lets itself be told, over HTTP on a listener
// of its own. Everything but /hello and /ready wants the secret or a token, as "Authorization: Bearer SECRET" or in
// X-Tyk-Authorization. Replies are JSON; refusals say what to change. GET /v1/openapi.json describes all of it.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/archive"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/orgs"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Gateway is what the control API asks a gateway.
type Gateway interface {
	Status() host.Status
	Ready() (status int, body []byte)
	Hello() []byte
	Publish(sdk.Event)
}

// State is what keys and policies are kept in. All of it is required.
type State struct {
	Store    store.Store
	Keys     *identity.Keys
	Policies *identity.Policies
	Limiter  limit.Limiter
}

// Options are what the control API is made of. What is nil is not offered.
type Options struct {
	Secret  string // required: there is no control API without one
	Tokens  map[string]config.AdminToken
	Gateway Gateway    // required
	Servers func() any // the state of plugin servers, to be shown as JSON
	Scripts func() any // the same of plugins that run inside the gateway
	Plugins func() any // the same of ready-made plugins
	// ReplaceServer replaces the processes of a plugin server that the gateway started. An error that is a
	// *router.Refusal says why it cannot; after any other the old ones go on.
	ReplaceServer func(ctx context.Context, name string) error
	Bundles       *Bundles
	// Reload reads definitions and plugin folders again and returns when they serve. An error that is a
	// *host.RefusedError says that some are refused and the others serve; after any other nothing has changed.
	Reload func(ctx context.Context) error
	// ReloadGroup asks every gateway of the store to reload, this one among them, and waits for none.
	ReloadGroup func(ctx context.Context) error
	Metrics     http.Handler
	Settings    Settings
	State       *State
	KeySettings config.KeySettings
	// Definitions are those that serve; they are not changed. nil: none are known.
	Definitions func() []*config.Definition
	Folder      *folder.Folder // where definitions are kept
	// RefreshKeySets has the key sets that JWTs are verified by fetched again.
	RefreshKeySets func()
	Log            *slog.Logger // required
	// Audit takes a line for every request that wants the secret; nil: Log.
	Audit *slog.Logger
	Now   func() time.Time // nil: time.Now
}

// New returns the handler of the control listener.
func New(o Options) (http.Handler, error) {
	a, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	return router.New(router.Options{
		Secret: o.Secret, Tokens: o.Tokens, Routes: a.routes(), Log: o.Log, Audit: o.Audit, PlainKeys: a.plainKeys(), Tell: tell,
	}), nil
}

func newAPI(o Options) (*api, error) {
	if o.Secret == "" {
		return nil, errors.New("the control listener needs a secret: give --admin-secret-file, --admin-secret or TURNBUCKLE_ADMIN_SECRET")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Definitions == nil {
		o.Definitions = func() []*config.Definition { return nil }
	}
	a := &api{o: o}
	if s := o.State; s != nil {
		a.orgs = orgs.New(s.Store)
		a.archive = &archive.Gateway{Store: s.Store, Orgs: a.orgs, Policies: s.Policies, Keys: s.Keys, Folder: o.Folder, Now: o.Now}
	}
	var err error
	if a.openapi, err = openapiDocument(); err != nil {
		return nil, err
	}
	return a, nil
}

// plainKeys reports whether ids of keys may be the keys themselves.
func (a *api) plainKeys() bool {
	return a.o.State != nil && slices.Contains(a.o.State.Keys.Functions(), keyid.Plain)
}

type api struct {
	o       Options
	openapi []byte
	orgs    *orgs.Orgs
	archive *archive.Gateway
}

// routes are all that the control API answers to, in the order of the document.
func (a *api) routes() router.Table {
	routes := router.Table{
		{Method: "GET", Path: "/hello", Access: router.Open, Serve: a.hello},
		{Method: "GET", Path: "/ready", Access: router.Open, Serve: a.ready},
		{Method: "GET", Path: "/v1/openapi.json", Access: router.Reads, Serve: a.document},
		{Method: "GET", Path: "/v1/routes", Access: router.Reads, Serve: a.status},
	}
	routes = append(routes, router.Profiles()...)
	shows := func(path string, status func() any) {
		if status != nil {
			routes = append(routes, router.Route{Method: "GET", Path: path, Access: router.Reads, Serve: shown(status)})
		}
	}
	shows("/v1/servers", a.o.Servers)
	if a.o.ReplaceServer != nil {
		routes = append(routes, router.Route{Method: "POST", Path: "/v1/servers/{server}/replace", Access: router.Writes, Serve: a.replaceServer})
	}
	shows("/v1/scripts", a.o.Scripts)
	shows("/v1/plugins", a.o.Plugins)
	if a.o.Reload != nil {
		routes = append(routes, router.Route{Method: "POST", Path: "/v1/reload", Access: router.Writes, Serve: a.reload}, router.Route{Method: "GET", Path: "/tyk/reload", Access: router.Writes, Serve: a.tykReload})
	}
	if a.o.Bundles != nil {
		routes = append(routes, router.Route{Method: "GET", Path: "/v1/bundles", Access: router.Reads, Serve: shown(a.o.Bundles.Status)},
			router.Route{Method: "POST", Path: "/v1/bundles/policy", Access: router.Reads, Serve: a.tryPolicy})
		if a.o.Reload != nil {
			routes = append(routes, router.Route{Method: "POST", Path: "/v1/bundles/reload", Access: router.Writes, Serve: a.reload})
		}
	}
	if a.o.ReloadGroup != nil {
		routes = append(routes, router.Route{Method: "GET", Path: "/tyk/reload/group", Access: router.Writes, Serve: a.reloadGroup})
	}
	if a.o.Metrics != nil {
		routes = append(routes, router.Route{Method: "GET", Path: "/metrics", Access: router.Reads, Serve: a.metrics})
	}
	if a.o.Settings != nil {
		routes = append(routes, a.settingsRoutes()...)
	}
	if a.o.Folder != nil {
		routes = append(routes, a.definitionRoutes()...)
	}
	if a.o.RefreshKeySets != nil {
		routes = append(routes,
			router.Route{Method: "DELETE", Path: "/tyk/cache/jwks", Access: router.Writes, Serve: a.refreshKeySets}, router.Route{Method: "DELETE", Path: "/tyk/cache/jwks/{api}", Access: router.Writes, Serve: a.refreshKeySets})
	}
	if a.o.State != nil {
		routes = append(routes, a.stateRoutes()...)
	}
	return routes
}

func (a *api) definitionRoutes() router.Table {
	return router.Table{
		{Method: "GET", Path: "/tyk/apis", Access: router.Reads, Serve: a.listAPIs},
		{Method: "POST", Path: "/tyk/apis", Access: router.Writes, Serve: a.createAPI},
		{Method: "GET", Path: "/tyk/apis/{api}", Access: router.Reads, Serve: a.getAPI},
		{Method: "POST", Path: "/tyk/apis/{api}", Access: router.Writes, Serve: a.createAPI},
		{Method: "PUT", Path: "/tyk/apis/{api}", Access: router.Writes, Serve: a.replaceAPI},
		{Method: "DELETE", Path: "/tyk/apis/{api}", Access: router.Writes, Serve: a.deleteAPI},
	}
}

func (a *api) stateRoutes() router.Table {
	return router.Table{
		{Method: "GET", Path: "/tyk/keys", Access: router.Reads, Serve: a.listKeys},
		{Method: "POST", Path: "/tyk/keys", Access: router.Writes, Serve: a.createKey},
		{Method: "POST", Path: "/tyk/keys/create", Access: router.Writes, Serve: a.createKey},
		{Method: "POST", Path: "/tyk/keys/preview", Access: router.Reads, Serve: a.previewKey},
		{Method: "POST", Path: "/tyk/keys/policy/{key}", Access: router.Writes, Serve: a.assignPolicies},
		{Method: "GET", Path: "/tyk/keys/{key}", Access: router.Reads, Serve: a.getKey},
		{Method: "POST", Path: "/tyk/keys/{key}", Access: router.Writes, Serve: a.putKey},
		{Method: "PUT", Path: "/tyk/keys/{key}", Access: router.Writes, Serve: a.updateKey},
		{Method: "DELETE", Path: "/tyk/keys/{key}", Access: router.Writes, Serve: a.deleteKey},
		{Method: "GET", Path: "/tyk/org/keys", Access: router.Reads, Serve: a.listOrgs},
		{Method: "GET", Path: "/tyk/org/keys/{org}", Access: router.Reads, Serve: a.getOrg},
		{Method: "POST", Path: "/tyk/org/keys/{org}", Access: router.Writes, Serve: a.putOrg},
		{Method: "PUT", Path: "/tyk/org/keys/{org}", Access: router.Writes, Serve: a.updateOrg},
		{Method: "DELETE", Path: "/tyk/org/keys/{org}", Access: router.Writes, Serve: a.deleteOrg},
		{Method: "GET", Path: "/tyk/policies", Access: router.Reads, Serve: a.listPolicies},
		{Method: "POST", Path: "/tyk/policies", Access: router.Writes, Serve: a.putPolicy},
		{Method: "GET", Path: "/tyk/policies/{policy}", Access: router.Reads, Serve: a.getPolicy},
		{Method: "POST", Path: "/tyk/policies/{policy}", Access: router.Writes, Serve: a.putPolicy},
		{Method: "PUT", Path: "/tyk/policies/{policy}", Access: router.Writes, Serve: a.putPolicy},
		{Method: "DELETE", Path: "/tyk/policies/{policy}", Access: router.Writes, Serve: a.deletePolicy},
		{Method: "GET", Path: "/v1/keys", Access: router.Reads, Serve: a.summariseKeys},
		{Method: "GET", Path: "/v1/keys/{key}/limits", Access: router.Reads, Serve: a.keyLimits},
		{Method: "GET", Path: "/v1/export", Access: router.Writes, Serve: a.export}, // writes: there are secrets in it
		{Method: "POST", Path: "/v1/import", Access: router.Writes, Serve: a.restore, MaxBody: maxImport},
	}
}
