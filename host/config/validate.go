package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/internal/template"
)

// validator collects problems by the path of the native form.
type validator struct{ problems Problems }

func (v *validator) errorf(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Severity: SeverityError, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) warnf(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Severity: SeverityWarning, Message: fmt.Sprintf(format, args...)})
}

// Validate returns what is wrong with a definition, apart from the files it names. The paths are
// those of the native form. It does not change the definition.
func (d *Definition) Validate() Problems {
	var v validator
	v.identity("$.id", d.ID)
	if hasControl(d.Name) {
		v.errorf("$.name", "must not have control characters")
	}
	if hasControl(d.Org) {
		v.errorf("$.org", "must not have control characters")
	}
	v.listen(&d.Listen)
	v.upstream(&d.Upstream)
	v.cors(&d.CORS)
	v.versions(&d.Versions)
	v.rules("$", &d.Rules)
	v.hooks(d)
	v.auth(d)
	v.errors("$.errors", &d.Errors)
	if d.Credential.Header != "" && !isToken(d.Credential.Header) {
		v.errorf("$.credential.header", "%q is not a header name", d.Credential.Header)
	}
	for i, tag := range d.Tags {
		if tag == "" || hasControl(tag) {
			v.errorf(document.Index("$.tags", i), "a tag must not be empty or have control characters")
		}
	}
	return v.problems
}

func (v *validator) identity(path, id string) {
	const maxID = 200
	switch {
	case id == "":
		v.errorf(path, "must not be empty")
	case len(id) > maxID:
		v.errorf(path, "must not be longer than %d bytes", maxID)
	case hasControl(id) || strings.ContainsAny(id, " /\\?#%"):
		v.errorf(path, "%q must not have spaces, control characters or any of / \\ ? # %%", id)
	}
}

func (v *validator) listen(l *Listen) {
	switch p := l.Path; {
	case p == "":
		v.errorf("$.listen.path", "a listen path is required")
	case p[0] != '/':
		v.errorf("$.listen.path", `%q must begin with "/"`, p)
	case hasControl(p) || strings.ContainsAny(p, ` ?#%\{}*`):
		v.errorf("$.listen.path", "%q must be a plain path: no spaces, escapes, wildcards, query or control characters", p)
	case strings.Contains(p, "//") || hasDotSegment(p):
		v.errorf("$.listen.path", `%q must not have empty, "." or ".." segments`, p)
	}
	host := strings.TrimPrefix(l.Host, "*.")
	if l.Host != "" && !hostName.MatchString(host) {
		v.errorf("$.listen.host", "%q is not a host name (api.example.com) or a suffix (*.example.com), without port", l.Host)
	}
}

func hasDotSegment(p string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(s string) bool { return s == "." || s == ".." })
}

func (v *validator) cors(c *CORS) {
	v.methods("$.cors.methods", c.Methods)
	for _, list := range []struct {
		path  string
		names []string
	}{{"$.cors.headers", c.Headers}, {"$.cors.exposed", c.Exposed}} {
		for i, name := range list.names {
			if name != "*" && !isToken(name) {
				v.errorf(document.Index(list.path, i), "%q is not a header name", name)
			}
		}
	}
	for i, origin := range c.Origins {
		if origin == "" || hasControl(origin) || strings.Count(origin, "*") > 1 {
			v.errorf(document.Index("$.cors.origins", i), "%q must be an origin, or have one * in it", origin)
		}
	}
	if c.Enabled && c.Credentials && (len(c.Origins) == 0 || slices.Contains(c.Origins, "*")) {
		v.warnf("$.cors.credentials", "credentials with every origin allowed: browsers refuse it, name the origins")
	}
}

func (v *validator) methods(path string, methods []string) {
	for i, m := range methods {
		if !isToken(m) {
			v.errorf(document.Index(path, i), "%q is not a method", m)
		}
	}
}

func (v *validator) errors(path string, e *Errors) {
	seen := map[string]bool{}
	for i, t := range e.Templates {
		at := document.Index(path+".templates", i)
		if t.Status != 0 && (t.Status < 400 || t.Status > 599) {
			v.errorf(at+".status", "must be between 400 and 599, or 0 for any")
		}
		if t.Type == "" {
			v.errorf(at+".type", "must be json or xml")
		}
		key := fmt.Sprint(t.Status, t.Type)
		if seen[key] {
			v.errorf(at, "a second %s template for status %d", t.Type, t.Status)
		}
		seen[key] = true
		if _, err := template.Parse("", t.Text, template.Options{}); err != nil {
			v.errorf(at+".text", "not a template: %s", strings.TrimPrefix(err.Error(), "template: :"))
		}
	}
}

// targetURL says what is wrong with the URL of a target, or "".
func targetURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a URL", text)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%q must begin with http:// or https://", text)
	case u.Hostname() == "":
		return fmt.Sprintf("%q has no host", text)
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"), !portOK(u.Port()):
		return fmt.Sprintf("%q has no valid port", text)
	case u.User != nil:
		return "a user in a target is not supported: set an Authorization header under headers.request instead"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Sprintf("%q must not have a query or fragment", text)
	case hasControl(text) || strings.Contains(text, " "):
		return fmt.Sprintf("%q must not have spaces or control characters", text)
	}
	return ""
}

// The expressions are compiled once and never change.
var (
	hostName   = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	serverName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for _, r := range s {
		alnum := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) {
			return false
		}
	}
	return s != ""
}
