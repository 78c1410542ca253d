package tyk

import (
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

func (t *translation) plugins() {
	m := t.get("custom_middleware")
	h := &t.def.Hooks
	hooks := t.def.Auth.Has(config.AuthHook)
	for _, list := range []struct {
		key, native string
		hooks       *[]config.HookRef
	}{
		{"pre", "$.hooks.pre", &h.Pre},
		{"post_key_auth", "$.hooks.post_key_auth", &h.PostKeyAuth},
		{"post", "$.hooks.post", &h.Post},
		{"response", "$.hooks.response", &h.Response},
	} {
		entries := items(get(m, list.key))
		if list.key == "post_key_auth" && t.def.Keyless {
			if len(entries) > 0 {
				t.report(get(m, list.key), document.Ignored, "", "use_keyless removes auth_check and post_key_auth hooks")
			}
			continue
		}
		for _, entry := range entries {
			at := document.Index(list.native, len(*list.hooks))
			t.from(at, entry)
			t.from(at+".hook", get(entry, "name"))
			*list.hooks = append(*list.hooks, t.hook(entry))
			hooks = true
		}
	}
	if hooks {
		t.driver(get(m, "driver"))
	}
	if t.server == scriptJS {
		t.place()
	}
	if hooks && t.server != "" && t.server != scriptPython {
		t.sourced(m)
	}
	t.nativeHooks()
	t.def.BundleHash = config.BundleHash(t.text(t.get("custom_middleware_bundle")))
	t.processors(t.get("response_processors"))
}

func (t *translation) hook(entry *document.Node) config.HookRef {
	server := t.server
	switch server {
	case "":
	case scriptPython:
		server = t.python(entry)
	default:
		t.entry(entry, server)
	}
	return config.HookRef{
		Server:      server,
		Name:        t.text(get(entry, "name")),
		RawBodyOnly: t.truth(get(entry, "raw_body_only")),
		Path:        entry.Path(),
	}
}

// driver refuses drivers that there are not.
func (t *translation) driver(n *document.Node) {
	at := n
	if at == nil {
		at = t.get("custom_middleware")
	}
	switch name := t.text(n); name {
	case "grpc", "otto", "javascript", "lua", "python":
	case "":
		if t.server == "" {
			t.errorf(at, "hooks without a driver are JavaScript, and no path of a .js file is named: for a plugin server, the driver is grpc")
		}
	case "goplugin":
		t.errorf(at, "driver %q is not supported, for such plugins fit one build of Tyk alone: grpc, otto, javascript, lua and python are", name)
	default:
		t.errorf(at, "driver %q is not known: grpc, otto, javascript, lua and python are", name)
	}
}

// processors accepts the names by which Tyk turns on what is translated anyway.
func (t *translation) processors(n *document.Node) {
	known := []string{"header_injector", "custom_mw_res_hook", "response_body_transform", "response_body_transform_jq"}
	for _, entry := range items(n) {
		name := t.text(get(entry, "name"))
		if !slices.Contains(known, name) {
			t.errorf(entry, "response processor %q is not supported", name)
		}
		if options := get(entry, "options"); options != nil && asks(options) {
			t.errorf(options, "options of response processors are not supported: use global_response_headers")
		}
	}
}

// events reads the event handlers.
func (t *translation) events() {
	events := t.get("event_handlers", "events")
	if events == nil {
		return
	}
	for _, f := range events.Fields {
		if !slices.Contains(eventNames(), f.Key) {
			t.report(f.Value, document.Warning, document.Suggest(f.Key, eventNames()), "no event has the name %q", f.Key)
		}
		for _, handler := range f.Value.Items {
			meta := get(handler, "handler_meta")
			if truthy(get(meta, "disabled")) {
				continue
			}
			e := config.EventHandler{Event: f.Key}
			switch name := t.text(get(handler, "handler_name")); name {
			case "cp_dynamic_handler":
				if e.Name = t.text(get(meta, "name")); e.Name == "" {
					t.errorf(handler, "handler_meta.name must name the handler on the plugin server")
				}
			case "eh_log_handler":
				e.Log, e.Name = true, t.text(get(meta, "prefix"))
			case "eh_web_hook_handler":
				t.errorf(handler, "web hooks are not supported: use cp_dynamic_handler")
				continue
			case "eh_dynamic_handler":
				if !t.dynamicHandler(handler, meta, &e) {
					continue
				}
			default:
				t.errorf(handler, "event handler %q is not known: cp_dynamic_handler, eh_dynamic_handler and eh_log_handler are", name)
				continue
			}
			t.def.Events = append(t.def.Events, e)
		}
	}
}

func eventNames() []string {
	return []string{
		"QuotaExceeded", "RatelimitExceeded", "AuthFailure", "KeyExpired", "VersionFailure", "OrgQuotaExceeded",
		"OrgRateLimitExceeded", "TriggerExceeded", "BreakerTriggered", "BreakerTripped", "BreakerReset", "HostDown",
		"HostUp", "TokenCreated", "TokenUpdated", "TokenDeleted", "UpstreamOAuthError", "CertificateExpiringSoon",
		"CertificateExpired", "RateLimitSmoothingUp", "RateLimitSmoothingDown", "OAuth2ScopeCheckFailed",
		"OAuth2ExchangeSucceeded", "OAuth2ExchangeFailed",
	}
}
