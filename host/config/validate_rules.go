package config

import (
	"net/textproto"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

func (v *validator) versions(vs *Versions) {
	seen := map[string]bool{}
	for i := range vs.List {
		version, at := &vs.List[i], document.Index("$.versions.list", i)
		switch {
		case version.Name == "":
			v.errorf(at+".name", "must not be empty")
		case hasControl(version.Name) || vs.In == VersionInPath && strings.ContainsAny(version.Name, "/?#%"):
			v.errorf(at+".name", "%q cannot be told from the rest of a request", version.Name)
		case seen[version.Name]:
			v.errorf(at+".name", "version %q stands twice", version.Name)
		}
		seen[version.Name] = true
		if version.Target != "" {
			if why := targetURL(version.Target); why != "" {
				v.errorf(at+".target", "%s", why)
			}
		}
		v.rules(at, &version.Rules)
	}
	switch vs.In {
	case VersionNone:
		if len(vs.List) > 1 {
			v.errorf("$.versions.in", "required: say whether the version is in a header, query or path")
		}
		return
	case VersionInHeader:
		if !isToken(vs.Key) {
			v.errorf("$.versions.key", "%q is not a header name", vs.Key)
		}
	case VersionInQuery:
		if vs.Key == "" || hasControl(vs.Key) {
			v.errorf("$.versions.key", "%q is not a parameter name", vs.Key)
		}
	case VersionInPath:
		if vs.Key != "" {
			v.errorf("$.versions.key", "has no meaning when the version is in the path")
		}
	}
	if len(vs.List) == 0 {
		v.errorf("$.versions.list", "at least one version is required")
	}
	if vs.Default != "" && !seen[vs.Default] {
		v.errorf("$.versions.default", "there is no version %q", vs.Default)
	}
}

func (v *validator) rules(path string, r *Rules) {
	for _, list := range []struct {
		key     string
		matches []PathMatch
	}{{"ignored", r.Paths.Ignored}, {"allow", r.Paths.Allow}, {"block", r.Paths.Block}} {
		for i := range list.matches {
			v.match(document.Index(document.Join(path, "paths", list.key), i), &list.matches[i])
		}
	}
	for i := range r.PathLimits {
		at := document.Index(path+".path_limits", i)
		v.match(at, &r.PathLimits[i].PathMatch)
		if r.PathLimits[i].Body <= 0 {
			v.errorf(at+".body", "a size greater than 0 is required")
		}
	}
	for i := range r.PathRates {
		at := document.Index(path+".path_rates", i)
		v.match(at, &r.PathRates[i].PathMatch)
		if v.rate(at, r.PathRates[i].Rate); r.PathRates[i].Rate == (Rate{}) {
			v.errorf(at, "requests and per are required")
		}
	}
	for i := range r.PathTimeouts {
		at := document.Index(path+".path_timeouts", i)
		v.match(at, &r.PathTimeouts[i].PathMatch)
		if r.PathTimeouts[i].Total <= 0 {
			v.errorf(at+".total", "a duration greater than 0 is required")
		}
	}
	v.change(path+".headers.request", &r.Headers.Request)
	v.change(path+".headers.response", &r.Headers.Response)
	for i := range r.Headers.Paths {
		at := document.Index(path+".headers.paths", i)
		v.match(at, &r.Headers.Paths[i].PathMatch)
		v.change(at+".request", &r.Headers.Paths[i].Request)
		v.change(at+".response", &r.Headers.Paths[i].Response)
	}
}

func (v *validator) match(path string, m *PathMatch) {
	if m.Path == "" {
		v.errorf(path+".path", "a path is required")
	} else if _, err := m.Path.Compile(m.IgnoreCase); err != nil {
		v.errorf(path+".path", "%s", err)
	}
	v.methods(path+".methods", m.Methods)
}

func (v *validator) change(path string, c *HeaderChange) {
	for i, name := range c.Remove {
		if !isToken(name) {
			v.errorf(document.Index(path+".remove", i), "%q is not a header name", name)
		}
	}
	v.headers(path+".set", c.Set)
}

// headers checks fields that the gateway is asked to send. The fields that frame a message or
// route it belong to the gateway: a second opinion about them is how requests are smuggled.
func (v *validator) headers(path string, hs Headers) {
	framing := []string{
		"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade",
	}
	for _, h := range hs {
		at := document.Join(path, h.Name)
		switch {
		case !isToken(h.Name):
			v.errorf(at, "%q is not a header name", h.Name)
		case slices.Contains(framing, textproto.CanonicalMIMEHeaderKey(h.Name)):
			v.errorf(at, "header %s belongs to the gateway and cannot be set", h.Name)
		}
		if strings.ContainsAny(h.Value, "\r\n\x00") {
			v.errorf(at, "a header value must not have line breaks or NUL")
		}
	}
}

func (v *validator) hooks(d *Definition) {
	for _, phase := range Phases() {
		for i, h := range d.Hooks.In(phase) {
			at := document.Index("$.hooks."+string(phase), i)
			v.server(d, at, h.Server)
			v.hookName(at+".hook", h.Name)
			v.policy(at, &h.Policy)
			if phase == PhaseAuth && h.OnError == OnErrorSkip {
				v.errorf(at+".on_error", "an auth hook that fails must fail the request: skip would let everyone in")
			}
		}
	}
	for i, o := range d.Observers {
		at := document.Index("$.observers", i)
		v.server(d, at, o.Server)
		v.hookName(at+".observer", o.Name)
		v.recordHeaders(at+".headers", o.Headers)
		v.recordHeaders(at+".response_headers", o.ResponseHeaders)
	}
}

// recordHeaders checks names of header fields, of which one may end in *.
func (v *validator) recordHeaders(path string, n HeaderNeeds) {
	for i, name := range n.Names {
		if begin := strings.TrimSuffix(name, "*"); name == "" || begin != "" && !isToken(begin) || strings.Contains(begin, "*") {
			v.errorf(document.Index(path, i), "%q is no name of a header field, nor the beginning of one with * behind it", name)
		}
	}
}

func (v *validator) hookName(path, name string) {
	const maxName = 256
	switch {
	case name == "":
		v.errorf(path, "a name is required")
	case len(name) > maxName || hasControl(name):
		v.errorf(path, "a name must not be longer than %d bytes or have control characters", maxName)
	}
}

func (v *validator) server(d *Definition, path, name string) {
	bundled := func(asked string) bool { return strings.HasPrefix(asked, name) } // which begins with the plugin's name
	if name != "" && d.Script(name) == nil && !serverName.MatchString(name) && !slices.ContainsFunc(d.Bundles, bundled) {
		v.errorf(path+".server", "%q is not a server name: lower-case letters, digits and - between them", name)
	}
}

func (v *validator) policy(path string, p *Policy) {
	const maxBuffer = 1 << 30
	if p.Timeout < 0 {
		v.errorf(path+".timeout", "must not be negative")
	}
	if p.Body.Limit < 0 || p.Body.Limit > maxBuffer {
		v.errorf(path+".body", "must be a size up to 1GiB")
	}
	if b := p.Breaker; b.ErrorRate < 0 || b.ErrorRate > 1 {
		v.errorf(path+".breaker.error_rate", "must be above 0 and at most 1")
	} else if b.ErrorRate == 0 && b != (Breaker{}) {
		v.errorf(path+".breaker.error_rate", "required: without it the breaker never opens")
	}
}
