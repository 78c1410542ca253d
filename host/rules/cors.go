package rules

import (
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// CORS is the gateway's side of the CORS protocol (Fetch standard, §3.2 "CORS protocol").
type CORS struct {
	any         bool // every origin
	origins     []origin
	methods     []string
	anyMethod   bool
	headers     []string
	anyHeader   bool
	credentials bool
	passthrough bool

	methodList, headerList, exposedList, maxAge string
}

// origin is an allowed origin, or what stands before and behind its "*".
type origin struct {
	before, behind string
	wild           bool
}

// CompileCORS compiles c; nil when it is off. Without origins or with "*" among them, every origin is allowed and the
// answer is "*", which grants no credentials (Fetch, "CORS check"): credentials need named origins, so that nobody opens
// an API to every site by accident.
func CompileCORS(c config.CORS) *CORS {
	if !c.Enabled {
		return nil
	}
	k := &CORS{any: len(c.Origins) == 0, methods: c.Methods, passthrough: c.Passthrough}
	for _, o := range c.Origins {
		before, behind, wild := strings.Cut(o, "*")
		k.any = k.any || o == "*"
		k.origins = append(k.origins, origin{before, behind, wild})
	}
	if len(k.methods) == 0 {
		k.methods = []string{"GET", "POST", "HEAD"}
	}
	for _, m := range k.methods {
		k.anyMethod = k.anyMethod || m == "*"
	}
	for _, h := range c.Headers {
		k.anyHeader = k.anyHeader || h == "*"
		k.headers = append(k.headers, h)
	}
	k.credentials = c.Credentials && !k.any
	k.methodList, k.headerList = strings.Join(k.methods, ", "), strings.Join(k.headers, ", ")
	k.exposedList = strings.Join(c.Exposed, ", ")
	if c.MaxAge != 0 {
		k.maxAge = strconv.FormatInt(max(0, int64(c.MaxAge/time.Second)), 10)
	}
	return k
}

// CORSDecision is what CORS makes of one request. The zero value asks for nothing.
type CORSDecision struct {
	// Preflight is a preflight request: Answer replies to it, and nothing else is to happen to it.
	Preflight bool
	// Passthrough is an OPTIONS request that goes to the upstream with no hook called.
	Passthrough bool

	cors    *CORS
	origin  string // the request's, when it is allowed
	asked   bool   // it is a preflight request, answered here or not
	method  string // Access-Control-Allow-Methods; "" when the preflight is refused
	headers string
}

// Begin decides about a request, before any hook: what hooks change later does not matter.
func (c *CORS) Begin(r *sdk.Request) CORSDecision {
	if c == nil {
		return CORSDecision{}
	}
	d := CORSDecision{cors: c}
	o := r.Header().Get("Origin")
	if o != "" && c.allows(o) {
		d.origin = o
	}
	if r.Method() != "OPTIONS" {
		return d
	}
	d.Passthrough = c.passthrough
	method := r.Header().Get("Access-Control-Request-Method")
	if o == "" || method == "" {
		return d
	}
	d.asked, d.Preflight = true, !c.passthrough
	if d.origin != "" {
		d.method, d.headers = c.preflight(method, r.Header())
	}
	return d
}

// preflight returns the lists to answer with; an empty first one refuses.
func (c *CORS) preflight(method string, h *sdk.Header) (methods, headers string) {
	if !c.allowsMethod(method) {
		return "", ""
	}
	methods, headers = c.methodList, c.headerList
	if c.anyMethod {
		methods = method
	}
	var asked []string
	for _, f := range h.Fields() {
		if !sdk.EqualFold(f.Name, "Access-Control-Request-Headers") {
			continue
		}
		for name := range strings.SplitSeq(f.Value, ",") {
			if name = strings.Trim(name, " \t"); name == "" {
				continue
			}
			if !c.allowsHeader(name) {
				return "", ""
			}
			asked = append(asked, name)
		}
	}
	if c.anyHeader {
		// "*" would not cover Authorization, nor anything once there are credentials (Fetch, "CORS-preflight fetch").
		headers = strings.Join(asked, ", ")
	}
	return methods, headers
}

func (c *CORS) allows(o string) bool {
	if c.any {
		return true
	}
	for _, allowed := range c.origins {
		if allowed.matches(o) {
			return true
		}
	}
	return false
}

// matches compares without regard to case; browsers send origins in lower case. A "*" stands for a part of the host and
// port, never for what ends them.
func (a origin) matches(o string) bool {
	if !a.wild {
		return sdk.EqualFold(a.before, o)
	}
	if len(o) < len(a.before)+len(a.behind) {
		return false
	}
	end := len(o) - len(a.behind)
	return sdk.EqualFold(o[:len(a.before)], a.before) && sdk.EqualFold(o[end:], a.behind) &&
		!strings.ContainsAny(o[len(a.before):end], "/@?# ")
}

// allowsMethod compares case (Fetch, "CORS-preflight fetch": methods are not normalized but for a few).
func (c *CORS) allowsMethod(method string) bool {
	if c.anyMethod {
		return sdk.ValidToken(method)
	}
	for _, m := range c.methods {
		if m == method {
			return true
		}
	}
	return false
}

func (c *CORS) allowsHeader(name string) bool {
	if c.anyHeader {
		return sdk.ValidToken(name)
	}
	for _, h := range c.headers {
		if sdk.EqualFold(h, name) {
			return true
		}
	}
	return false
}

// Answer replies to a preflight request: 204, with the allow headers unless origin, method or a header is refused.
func (d *CORSDecision) Answer(x *sdk.Exchange) {
	r := x.Response()
	r.Fill(204, 0)
	r.LoadBody(nil)
	d.grant(r.Header())
}

// grant appends the headers of a reply to a preflight request.
func (d *CORSDecision) grant(h *sdk.Header) {
	vary(h, "Origin")
	vary(h, "Access-Control-Request-Method")
	vary(h, "Access-Control-Request-Headers")
	if d.method == "" {
		return
	}
	d.allowOrigin(h)
	h.Append("Access-Control-Allow-Methods", d.method)
	if d.headers != "" {
		h.Append("Access-Control-Allow-Headers", d.headers)
	}
	if d.cors.maxAge != "" {
		h.Append("Access-Control-Max-Age", d.cors.maxAge)
	}
}

func (d *CORSDecision) allowOrigin(h *sdk.Header) {
	if d.cors.any {
		h.Append("Access-Control-Allow-Origin", "*")
		return
	}
	h.Append("Access-Control-Allow-Origin", d.origin)
	if d.cors.credentials {
		h.Append("Access-Control-Allow-Credentials", "true")
	}
}

// Apply adds to the header of the reply, whoever made it, what a script needs to read it, and removes what the upstream
// said about that: with CORS on, the gateway decides. A preflight request that was passed through keeps the upstream's
// answer and gets the gateway's only when there is none. After Answer there is nothing to apply.
func (d *CORSDecision) Apply(h *sdk.Header) {
	switch {
	case d.cors == nil || d.Preflight:
		return
	case d.asked:
		if !h.Has("Access-Control-Allow-Origin") {
			d.grant(h)
		}
		return
	}
	h.Remove("Access-Control-Allow-Origin")
	h.Remove("Access-Control-Allow-Credentials")
	h.Remove("Access-Control-Expose-Headers")
	if !d.cors.any {
		vary(h, "Origin") // also of a reply without Origin: a cache must not give it to one with
		if d.origin == "" {
			return
		}
	}
	d.allowOrigin(h)
	if d.cors.exposedList != "" {
		h.Append("Access-Control-Expose-Headers", d.cors.exposedList)
	}
}

// vary adds name to the Vary fields (RFC 9110 §12.5.5) unless they hold it.
func vary(h *sdk.Header, name string) {
	for _, f := range h.Fields() {
		if !sdk.EqualFold(f.Name, "Vary") {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ",") {
			if part = strings.Trim(part, " \t"); part == "*" || sdk.EqualFold(part, name) {
				return
			}
		}
	}
	h.Append("Vary", name)
}
