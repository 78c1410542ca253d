package reply

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Generator is the value of the X-Generator header of error replies. (Tyk sends its own name there.)
const Generator = "turnbuckle"

// Renderer writes error replies. It is immutable and safe for concurrent use; its zero value has the built-in documents
// alone.
type Renderer struct {
	templates *templates // nil: none
	ready     map[key][]byte
	hide      bool
}

// key is all that a document depends on.
type key struct {
	doc     *document
	status  int
	message string
}

// Compile reads and parses the templates of c. Its errors name the file or template and the line. hideGenerator leaves
// the X-Generator header out.
func Compile(c config.Errors, hideGenerator bool) (*Renderer, error) {
	r := &Renderer{hide: hideGenerator}
	if c.Dir == "" && len(c.Templates) == 0 {
		return r, nil
	}
	var err error
	if r.templates, err = loadTemplates(c); err != nil {
		return nil, err
	}
	r.prepare()
	return r, nil
}

// maxReady bounds a document that is kept ready.
const maxReady = 4 << 10

// prepare renders what is refused most, so that a flood of it does not execute templates.
func (r *Renderer) prepare() {
	r.ready = map[key][]byte{}
	for _, e := range common {
		for f := range formats {
			doc := r.templates.find(e.Status, f)
			if doc == nil {
				continue
			}
			if body, err := doc.render(e.Status, e.Message); err == nil && len(body) <= maxReady {
				r.ready[key{doc, e.Status, e.Message}] = body
			}
		}
	}
}

var common = [...]sdk.Error{
	{Status: 401, Message: "Authorization field missing"},
	{Status: 401, Message: "Unauthorized"},
	{Status: 403, Message: "Access to this API has been disallowed"},
	{Status: 403, Message: "Forbidden"},
	{Status: 403, Message: "Key not authorised"},
	{Status: 403, Message: "Quota exceeded"},
	{Status: 403, Message: "Requested endpoint is forbidden"},
	{Status: 403, Message: "access from this IP has been disallowed"},
	{Status: 429, Message: "API Rate Limit Exceeded"},
	{Status: 429, Message: "Rate Limit Exceeded"},
	{Status: 500, Message: "Middleware error"},
	{Status: 500, Message: "There was a problem proxying the request"},
	{Status: 502, Message: "Bad Gateway"},
	{Status: 503, Message: "Service Unavailable"},
	{Status: 504, Message: "Gateway Timeout"},
	{Status: 504, Message: "Upstream service reached hard timeout."},
}

// Render makes e the reply of x, unrecorded: status, the error's headers, Content-Type, X-Generator and body, in place of
// any reply there was. A status that is no error becomes 500, an empty message the status' own phrase. Headers no
// message can carry, hop-by-hop ones and those that describe the body are left out. A template that fails gives way to
// the built-in document. The body may be shared between replies: it is not to be changed. As ever, the reply to a HEAD
// request is sent without its body but with its length. WWW-Authenticate is the caller's to give with e.
func (r *Renderer) Render(x *sdk.Exchange, e *sdk.Error) {
	status, message := normal(e)
	f, contentType := accepted(x.Request().Header().Get("Content-Type"))
	var doc *document
	if r.templates != nil {
		if doc = r.templates.find(status, f); doc != nil && doc.format != f {
			f, contentType = formatJSON, "application/json"
		}
	}
	body := r.body(doc, f, status, message)
	w := x.Response()
	w.Fill(status, int64(len(body)))
	w.LoadBody(body)
	h := w.Header()
	h.Append("Content-Type", contentType)
	if !r.hide {
		h.Append("X-Generator", Generator)
	}
	if e != nil {
		appendHeaders(h, e.Header)
	}
}

func (r *Renderer) body(doc *document, f format, status int, message string) []byte {
	if doc == nil {
		return builtIn(f, message)
	}
	if body, ok := r.ready[key{doc, status, message}]; ok {
		return body
	}
	body, err := doc.render(status, message)
	if err != nil {
		return builtIn(doc.format, message)
	}
	return body
}

func normal(e *sdk.Error) (status int, message string) {
	status = 500
	if e != nil {
		status, message = e.Status, e.Message
	}
	if status < 400 || status > 599 {
		status = 500
	}
	switch {
	case message == "":
		if message = http.StatusText(status); message == "" {
			message = "Error"
		}
	case len(message) > maxMessage:
		cut := maxMessage
		for cut > maxMessage-utf8.UTFMax && !utf8.RuneStart(message[cut]) {
			cut--
		}
		message = message[:cut] + "…"
	}
	return status, message
}

// accepted returns the format and type of a reply to a request of that Content-Type.
func accepted(contentType string) (format, string) {
	if contentType == "" {
		return formatJSON, "application/json"
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.Trim(media, " \t")
	for _, xml := range [...]string{"application/xml", "text/xml", "application/soap+xml"} {
		if sdk.EqualFold(media, xml) {
			return formatXML, xml
		}
	}
	return formatJSON, "application/json"
}

// appendHeaders adds what a plugin or a rule gave, which nobody has checked before.
func appendHeaders(h *sdk.Header, fields []sdk.Field) {
	for _, f := range fields {
		if sdk.ValidToken(f.Name) && sdk.ValidFieldValue(f.Value) && !flow.HopByHop(f.Name) && !describesBody(f.Name) {
			h.Append(f.Name, f.Value)
		}
	}
}

func describesBody(name string) bool {
	return sdk.EqualFold(name, "Content-Length") || sdk.EqualFold(name, "Content-Type") || sdk.EqualFold(name, "Content-Encoding")
}

// builtIn is the document without template.
func builtIn(f format, message string) []byte {
	before, behind := "{\n    \"error\": \"", "\"\n}"
	if f == formatXML {
		before, behind = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>", "</error>"
	}
	b := make([]byte, 0, len(before)+len(message)+len(behind))
	return append(appendEscaped(append(b, before...), f, message), behind...)
}
