package tyk

import (
	"regexp"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

const (
	defaultVersion = "Default"
	expiryLayout   = "2006-01-02 15:04"
)

func (t *translation) versions() {
	data := t.from("$.versions", t.get("version_data"))
	list := get(data, "versions")
	if list == nil || len(list.Fields) == 0 {
		if !t.truth(get(data, "not_versioned")) {
			t.warnf(t.at(data), "no version is defined: the API is served without versions")
		}
		return
	}
	if t.truth(get(data, "not_versioned")) {
		t.onlyVersion(list)
		return
	}
	vs := &t.def.Versions
	t.location(vs)
	vs.Default = t.text(t.from("$.versions.default", get(data, "default_version")))
	for _, f := range list.Fields {
		t.version(f)
	}
}

// onlyVersion takes the version that serves an API without versions.
func (t *translation) onlyVersion(list *document.Node) {
	only := list.Fields[0]
	for _, f := range list.Fields {
		if f.Key == defaultVersion {
			only = f
		}
	}
	if len(list.Fields) > 1 && only.Key != defaultVersion {
		t.errorf(list, "not_versioned with several versions, and none is %q: which one serves is not defined", defaultVersion)
	}
	t.version(only)
}

func (t *translation) location(vs *config.Versions) {
	definition := t.get("definition")
	location := t.from("$.versions.in", get(definition, "location"))
	key := t.from("$.versions.key", get(definition, "key"))
	switch text := t.text(location); text {
	case "header":
		vs.In, vs.Key = config.VersionInHeader, t.text(key)
	case "url-param":
		vs.In, vs.Key = config.VersionInQuery, t.text(key)
	case "url":
		vs.In = config.VersionInPath
		vs.Strip = t.truth(get(definition, "strip_path"))
	default:
		t.errorf(t.at(location), "%q is not where a version can be: header, url-param or url", text)
	}
	vs.Strip = vs.Strip || t.truth(get(definition, "strip_versioning_data"))
}

// version adds one version.
func (t *translation) version(f document.Field) {
	n := f.Value
	if n.Kind != document.Mapping {
		t.errorf(n, "must be a mapping, not %s", n.Kind)
		return
	}
	path := document.Index("$.versions.list", len(t.def.Versions.List))
	t.from(path, n)
	v := config.Version{Name: f.Key}
	if named := t.from(path+".name", get(n, "name")); named != nil && t.text(named) != f.Key {
		t.warnf(named, "the version is known by its key %q", f.Key)
	}
	v.Expires = t.expires(get(n, "expires"))
	if target := t.from(path+".target", get(n, "override_target")); target != nil && t.text(target) != "" {
		protocol := t.def.Upstream.Protocol
		v.Target = t.url(target, &protocol)
		if protocol != t.def.Upstream.Protocol {
			t.errorf(target, "a version cannot have another upstream protocol than the API")
		}
	}
	t.pathLists(n, &v.Rules, path)
	t.globalHeaders(n, &v.Rules, path)
	t.sizes(n, &v.Rules, path)
	if t.truth(get(n, "ignore_endpoint_case")) {
		ignoreCase(&v.Rules)
	}
	t.def.Versions.List = append(t.def.Versions.List, v)
}

func (t *translation) expires(n *document.Node) time.Time {
	text := t.text(n)
	if text == "" || text == "-1" {
		return time.Time{}
	}
	at, err := time.Parse(expiryLayout, text)
	if err != nil {
		t.errorf(n, "%q is not a time like %q", text, expiryLayout)
	}
	return at
}

// pathLists reads extended_paths, or the older paths when those are not in use.
func (t *translation) pathLists(n *document.Node, r *config.Rules, path string) {
	extended, plain := get(n, "extended_paths"), get(n, "paths")
	if !t.truth(get(n, "use_extended_paths")) {
		if extended != nil && asks(extended) {
			t.warnf(extended, "has no effect while use_extended_paths is false")
		}
		for key, list := range lists(&r.Paths) {
			names := get(plain, key)
			t.from(path+".paths."+nativeList(key), names)
			for _, p := range t.list(names) {
				*list = append(*list, config.PathMatch{Path: Pattern(p)})
			}
		}
		return
	}
	if plain != nil && asks(plain) {
		t.report(plain, document.Ignored, "", "has no effect while use_extended_paths is true")
	}
	for key, list := range lists(&r.Paths) {
		for _, item := range items(get(extended, key)) {
			t.from(document.Index(path+".paths."+nativeList(key), len(*list)), item)
			*list = append(*list, t.endpoint(item))
		}
	}
	for _, item := range items(get(extended, "hard_timeouts")) {
		t.from(document.Index(path+".path_timeouts", len(r.PathTimeouts)), item)
		var seconds float64
		if timeout := get(item, "timeout"); timeout != nil {
			t.decoder.Decode(timeout, &seconds)
		}
		const longest = 24 * 60 * 60
		total := time.Duration(min(seconds, longest) * float64(time.Second))
		r.PathTimeouts = append(r.PathTimeouts, config.PathTimeout{PathMatch: t.match(item), Total: total})
	}
	for _, item := range items(get(extended, "rate_limit")) {
		if rate := t.rate(item); rate != (config.Rate{}) {
			t.from(document.Index(path+".path_rates", len(r.PathRates)), item)
			r.PathRates = append(r.PathRates, config.PathRate{PathMatch: t.match(item), Rate: rate})
		}
	}
	t.virtual(get(extended, "virtual"), r, path)
	for _, item := range items(get(extended, "transform_headers")) {
		t.from(document.Index(path+".headers.paths", len(r.Headers.Paths)), item)
		r.Headers.Paths = append(r.Headers.Paths, config.PathHeaderChange{PathMatch: t.match(item), Request: t.change(item)})
	}
	for _, item := range items(get(extended, "transform_response_headers")) {
		t.from(document.Index(path+".headers.paths", len(r.Headers.Paths)), item)
		r.Headers.Paths = append(r.Headers.Paths, config.PathHeaderChange{PathMatch: t.match(item), Response: t.change(item)})
	}
}

func lists(p *config.PathLists) map[string]*[]config.PathMatch {
	return map[string]*[]config.PathMatch{"ignored": &p.Ignored, "white_list": &p.Allow, "black_list": &p.Block}
}

func nativeList(key string) string {
	return map[string]string{"ignored": "ignored", "white_list": "allow", "black_list": "block"}[key]
}

// match reads path, method and ignore_case of an entry.
func (t *translation) match(item *document.Node) config.PathMatch {
	m := config.PathMatch{IgnoreCase: t.truth(get(item, "ignore_case"))}
	if path := t.text(get(item, "path")); path != "" {
		m.Path = Pattern(path)
	}
	if method := t.text(get(item, "method")); method != "" {
		m.Methods = []string{method}
	}
	return m
}

// endpoint reads an entry of a path list, with the older method_actions.
func (t *translation) endpoint(item *document.Node) config.PathMatch {
	m := t.match(item)
	actions := get(item, "method_actions")
	if actions == nil {
		return m
	}
	if actions.Kind != document.Mapping {
		t.errorf(actions, "must be a mapping, not %s", actions.Kind)
		return m
	}
	for _, f := range actions.Fields {
		m.Methods = append(m.Methods, f.Key)
		if action := get(f.Value, "action"); action != nil {
			if text := t.text(action); text != "" && text != "no_action" {
				t.errorf(action, "method action %q is not supported: mock replies are not", text)
			}
		}
	}
	return m
}

func (t *translation) change(item *document.Node) config.HeaderChange {
	return config.HeaderChange{Remove: t.list(get(item, "delete_headers")), Set: t.setHeaders(get(item, "add_headers"))}
}

func (t *translation) setHeaders(n *document.Node) config.Headers {
	var out config.Headers
	if n == nil {
		return nil
	}
	t.decoder.Decode(n, &out)
	for _, f := range n.Fields {
		if strings.Contains(f.Value.Text, "$secret_") {
			t.errorf(f.Value, "values with $secret_ variables are not supported: write env:NAME or file:PATH for the whole value")
		}
		if strings.Contains(f.Value.Text, "$tyk_context.") && !t.truth(t.get("enable_context_vars")) {
			t.errorf(f.Value, "the value names a context variable, and enable_context_vars is off")
		}
	}
	return out
}

func (t *translation) globalHeaders(n *document.Node, r *config.Rules, path string) {
	for _, side := range []struct {
		prefix, native string
		change         *config.HeaderChange
	}{
		{"global_headers", ".headers.request", &r.Headers.Request},
		{"global_response_headers", ".headers.response", &r.Headers.Response},
	} {
		if t.truth(get(n, side.prefix+"_disabled")) {
			continue
		}
		side.change.Set = t.setHeaders(t.from(path+side.native+".set", get(n, side.prefix)))
		side.change.Remove = t.list(t.from(path+side.native+".remove", get(n, side.prefix+"_remove")))
	}
}

// sizes reads the size limits. Tyk checks both the global and the path's limit, so a path's
// cannot lift the global one.
func (t *translation) sizes(n *document.Node, r *config.Rules, path string) {
	var global config.Size
	limit := get(n, "global_size_limit")
	if !t.truth(get(n, "global_size_limit_disabled")) {
		global = config.Size(t.number(limit))
	}
	if t.truth(get(n, "use_extended_paths")) {
		for _, item := range items(get(n, "extended_paths", "size_limits")) {
			size := config.Size(t.number(get(item, "size_limit")))
			if global > 0 {
				size = min(size, global)
			}
			t.from(document.Index(path+".path_limits", len(r.PathLimits)), item)
			r.PathLimits = append(r.PathLimits, config.PathLimit{PathMatch: t.match(item), Body: size})
		}
	}
	if global < 0 {
		t.errorf(limit, "must not be negative")
	}
	if global > 0 {
		t.from(document.Index(path+".path_limits", len(r.PathLimits)), limit)
		r.PathLimits = append(r.PathLimits, config.PathLimit{PathMatch: config.PathMatch{Path: "~^"}, Body: global})
	}
}

func ignoreCase(r *config.Rules) {
	for _, list := range lists(&r.Paths) {
		for i := range *list {
			(*list)[i].IgnoreCase = true
		}
	}
	for i := range r.PathLimits {
		r.PathLimits[i].IgnoreCase = true
	}
	for i := range r.PathRates {
		r.PathRates[i].IgnoreCase = true
	}
	for i := range r.PathTimeouts {
		r.PathTimeouts[i].IgnoreCase = true
	}
	for i := range r.Virtual {
		r.Virtual[i].IgnoreCase = true
	}
	for i := range r.Headers.Paths {
		r.Headers.Paths[i].IgnoreCase = true
	}
}

// Pattern turns a classic path into a pattern: a regular expression that is not anchored, in
// which {name} is one segment and /* is whatever follows.
func Pattern(path string) config.Pattern {
	expr := regexp.MustCompile(`\{[^{}]*\}`).ReplaceAllString(path, `([^/]+)`)
	expr = strings.ReplaceAll(expr, "/*/", "/[^/]+/")
	expr = strings.ReplaceAll(expr, "/*", "/.*")
	return config.Pattern("~" + expr)
}
