package rules

import (
	"fmt"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Headers changes the headers of messages on their way to the upstream and to the client.
type Headers struct {
	request, response           []edit
	paths                       *matcher
	pathRequests, pathResponses [][]edit // by index of paths
	onRequests, onResponses     bool     // whether there is anything to do
}

// edit is one change of a header.
type edit struct {
	do    func(h *sdk.Header, name, value string)
	name  string
	value Template
}

// CompileHeaders compiles the changes of an API and those of one of its versions; nil when there is none. They come in
// the order API, version, the API's paths, the version's, and in each a removal before a set. Names that the gateway
// writes itself are refused: setting what frames a message or concerns one connection (RFC 9110 §7.6.1), setting or
// removing Host and the X-Forwarded fields, all but setting Host in requests.
func CompileHeaders(api, version config.HeaderTransforms) (*Headers, error) {
	var h Headers
	var matches []config.PathMatch
	for _, t := range []config.HeaderTransforms{api, version} {
		request, err := compileEdits(t.Request, true)
		if err != nil {
			return nil, fmt.Errorf("headers.request: %w", err)
		}
		response, err := compileEdits(t.Response, false)
		if err != nil {
			return nil, fmt.Errorf("headers.response: %w", err)
		}
		h.request, h.response = append(h.request, request...), append(h.response, response...)
		for _, p := range t.Paths {
			matches = append(matches, p.PathMatch)
			if request, err = compileEdits(p.Request, true); err != nil {
				return nil, fmt.Errorf("headers.paths: %s: request: %w", p.Path, err)
			}
			if response, err = compileEdits(p.Response, false); err != nil {
				return nil, fmt.Errorf("headers.paths: %s: response: %w", p.Path, err)
			}
			h.pathRequests, h.pathResponses = append(h.pathRequests, request), append(h.pathResponses, response)
		}
	}
	var err error
	if h.paths, err = newMatcher(matches); err != nil {
		return nil, fmt.Errorf("headers.paths: %w", err)
	}
	some := func(edits []edit) bool { return len(edits) > 0 }
	h.onRequests = some(h.request) || slices.ContainsFunc(h.pathRequests, some)
	h.onResponses = some(h.response) || slices.ContainsFunc(h.pathResponses, some)
	if !h.onRequests && !h.onResponses {
		return nil, nil
	}
	return &h, nil
}

func compileEdits(c config.HeaderChange, request bool) ([]edit, error) {
	var edits []edit
	for _, name := range c.Remove {
		switch {
		case request && sdk.EqualFold(name, "Host") || request && forwarded(name):
			return nil, fmt.Errorf("remove: %s is written by the gateway and cannot be removed", name)
		case !framing(name): // the rest never passes the gateway anyway
			edits = append(edits, edit{func(h *sdk.Header, name, _ string) { h.Remove(name) }, name, Template{}})
		}
	}
	for i, f := range c.Set {
		if framing(f.Name) || request && forwarded(f.Name) {
			return nil, fmt.Errorf("set: %s is written by the gateway and cannot be set", f.Name)
		}
		same := func(g config.Header) bool { return sdk.EqualFold(g.Name, f.Name) }
		e := edit{(*sdk.Header).Replace, f.Name, CompileTemplate(f.Value)}
		switch {
		case request && sdk.EqualFold(f.Name, "Host"):
			e.do = nil
		case slices.ContainsFunc(c.Set[:i], same):
			e.do = (*sdk.Header).Append
		}
		edits = append(edits, e)
	}
	return edits, nil
}

func framing(name string) bool {
	return flow.HopByHop(name) || sdk.EqualFold(name, "Content-Length")
}

func forwarded(name string) bool {
	return sdk.EqualFold(name, "X-Forwarded-For") || sdk.EqualFold(name, "X-Forwarded-Host") ||
		sdk.EqualFold(name, "X-Forwarded-Proto")
}

// Request changes the request of f, unrecorded; Host is set in f.Out. path is without the listen path, its escapes as
// they came; it is compared decoded and with dot segments resolved. What values name is looked up in v, which may be nil.
func (h *Headers) Request(f *flow.Flow, path string, v Variables) {
	if h == nil || !h.onRequests {
		return
	}
	r := f.X.Request()
	applyRequest(f, h.request, v)
	if h.paths != nil {
		for _, i := range h.paths.all(r.Method(), canonical(path)) {
			applyRequest(f, h.pathRequests[i], v)
		}
	}
}

func applyRequest(f *flow.Flow, edits []edit, v Variables) {
	for _, e := range edits {
		if e.do == nil {
			f.Out.Host = e.value.Expand(v)
			continue
		}
		e.do(f.X.Request().Header(), e.name, e.value.Expand(v))
	}
}

// Response changes the header of the reply to a request of that method and path, unrecorded. What values name is looked up
// in v, which may be nil.
func (h *Headers) Response(reply *sdk.Header, method, path string, v Variables) {
	if h == nil || !h.onResponses {
		return
	}
	apply(reply, h.response, v)
	if h.paths != nil {
		for _, i := range h.paths.all(method, canonical(path)) {
			apply(reply, h.pathResponses[i], v)
		}
	}
}

func apply(h *sdk.Header, edits []edit, v Variables) {
	for _, e := range edits {
		e.do(h, e.name, e.value.Expand(v))
	}
}
