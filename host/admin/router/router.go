// Package router takes requests to what serves them: by method and path, past whoever has no credential for it, with a line in
// the log for each. What it serves is JSON; so is every refusal.
package router

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Access is what a route asks for.
type Access int

// What routes ask for: no secret, a credential of either role, or one that may write.
const (
	Open Access = iota
	Reads
	Writes
)

// Route is a method and a path, in which {name} stands for any one segment that is not empty. Of two routes that match, the
// one with fewer such names holds. {key} is never logged as it is.
type Route struct {
	Method, Path string
	Access       Access
	// Serve answers. An error that it returns before it has written anything becomes the reply.
	Serve func(c *Call) error
	// MaxBody bounds the body in bytes; 0 is MaxBody.
	MaxBody int64
}

// Call is a request on its way through a route.
type Call struct {
	*http.Request
	W     http.ResponseWriter
	Vars  map[string]string // by the names in the route's path, unescaped
	route *Route
	about []any
	// content is the body, once it has been read.
	content []byte
}

// About has the audit line tell more of what was done, such as the id of what was made. The value is told as it is: it must be
// no secret.
func (c *Call) About(name string, value any) { c.about = append(c.about, name, value) }

// Table is a list of routes.
type Table []Route

// Find returns the route of a request. Without one, allowed are the methods that the path takes; none, when there is no
// such path. A slash at the end of a path makes no difference, and HEAD is GET.
func (rs Table) Find(method, escapedPath string) (found *Route, vars map[string]string, allowed []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(escapedPath, "/"), "/"), "/")
	for i := range rs {
		r := &rs[i]
		values, ok := r.match(segments)
		if !ok {
			continue
		}
		if r.Method != method {
			if !slices.Contains(allowed, r.Method) {
				allowed = append(allowed, r.Method)
			}
			continue
		}
		if found == nil || len(values) < len(vars) { // the one that is spelled out goes first
			found, vars = r, values
		}
	}
	if found != nil {
		return found, vars, nil
	}
	slices.Sort(allowed)
	return nil, nil, allowed
}

func (r *Route) match(segments []string) (vars map[string]string, ok bool) {
	pattern := strings.Split(strings.TrimPrefix(r.Path, "/"), "/")
	if len(pattern) != len(segments) {
		return nil, false
	}
	for i, p := range pattern {
		name, isVar := strings.CutPrefix(p, "{")
		if !isVar {
			if p != segments[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || value == "" {
			return nil, false
		}
		if vars == nil {
			vars = map[string]string{}
		}
		vars[strings.TrimSuffix(name, "}")] = value
	}
	return vars, true
}
