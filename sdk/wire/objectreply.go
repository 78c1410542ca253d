package wire

import (
	"encoding/json"

	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// joined makes one header line of several (RFC 9110 §5.3; RFC 6265 §5.4 for cookies).
func joined(name string, values []string) string {
	if name == "Cookie" {
		return strings.Join(values, "; ")
	}
	return strings.Join(values, ", ")
}

// appendOverrides appends the return overrides of a request that ends here: an error for the template, or an answer.
func appendOverrides(b []byte, reply *sdk.Response, refused *sdk.Error) []byte {
	b, at := open(b, 10, 100)
	if refused != nil {
		b = appendInt(b, 1, int64(refused.Status))
		b = appendText(b, 2, refused.Message)
		b = appendJoined(b, 3, refused.Header)
		return shut(b, at)
	}
	b = appendInt(b, 1, int64(reply.Status()))
	b = appendJoined(b, 3, reply.Header().Fields())
	b = appendBool(b, 4, reply.Status() >= 400)
	b = appendText(b, 5, string(reply.Body()))
	return shut(b, at)
}

func appendJoined(b []byte, number uint64, fields []sdk.Field) []byte {
	for _, g := range grouped(fields) {
		b = appendEntry(b, number, g.name, joined(g.name, g.values))
	}
	return b
}

// appendReplyResponse appends the ResponseObject of a response hook. Tyk's protocol has no way to refuse there: an error
// replaces the reply by what Tyk's error template would show.
func appendReplyResponse(b []byte, reply *sdk.Response, refused *sdk.Error) []byte {
	status, fields, body := reply.Status(), reply.Header().Fields(), reply.Body()
	if refused != nil {
		text, err := json.MarshalIndent(map[string]string{"error": refused.Message}, "", "    ")
		if err != nil {
			text = nil // a map of strings always marshals
		}
		status, body = refused.Status, text
		fields = append([]sdk.Field{{Name: "Content-Type", Value: "application/json"}}, refused.Header...)
	}
	b, at := open(b, 7, 500+2*len(body))
	b = appendInt(b, 1, int64(status))
	b = appendBody(b, 3, 2, body)
	b = appendFirstValues(b, 4, fields)
	b = appendMultiValues(b, 5, fields)
	b = appendBool(b, 100, true)
	return shut(b, at)
}

// eventPayload is the JSON that Tyk's DispatchEvent carries.
type eventPayload struct {
	Message struct {
		Type      string
		Meta      map[string]string
		TimeStamp string
	} `json:"message"`
	HandlerName string `json:"handler_name"`
	Spec        struct {
		APIID string
		OrgID string
	} `json:"spec"`
}

// stampLayout is how time.Time prints itself, without its monotonic part.
const stampLayout = "2006-01-02 15:04:05.999999999 -0700 MST"

// AppendDispatchEvent appends the coprocess.Event that tells the named handler of e as Tyk's gateway does: Meta has e's
// facts and its message.
func AppendDispatchEvent(b []byte, e *sdk.Event, handler string) ([]byte, error) {
	var p eventPayload
	p.Message.Type, p.HandlerName = e.Type, handler
	p.Message.TimeStamp = e.Time.Local().Format(stampLayout)
	p.Message.Meta = make(map[string]string, len(e.Meta)+1)
	p.Message.Meta["Message"] = e.Message
	for k, v := range e.Meta {
		p.Message.Meta[k] = v
	}
	p.Spec.APIID, p.Spec.OrgID = e.Route, e.Org
	text, err := json.Marshal(&p)
	if err != nil {
		return b, err
	}
	return appendBytes(b, 1, text), nil
}

// DecodeDispatchEvent reads a coprocess.Event and returns the handler it is for. Facts that are no strings are given as
// JSON; a time that cannot be read is zero.
func DecodeDispatchEvent(b []byte) (e sdk.Event, handler string, err error) {
	var payload []byte
	c := cursor{msg: b}
	for c.next() {
		if c.key == 1<<3|length {
			payload = c.val()
		}
	}
	if c.err != nil {
		return e, "", garbage("event", c.err)
	}
	var p struct {
		eventPayload
		Message struct {
			Type      string
			Meta      map[string]json.RawMessage
			TimeStamp string
		} `json:"message"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return e, "", garbage("event's payload", err)
	}
	e = sdk.Event{Type: p.Message.Type, Route: p.Spec.APIID, Org: p.Spec.OrgID, Time: stamp(p.Message.TimeStamp)}
	for k, raw := range p.Message.Meta {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		if k == "Message" {
			e.Message = s
			continue
		}
		if e.Meta == nil {
			e.Meta = map[string]string{}
		}
		e.Meta[k] = s
	}
	return e, p.HandlerName, nil
}

func stamp(s string) time.Time {
	s, _, _ = strings.Cut(s, " m=")
	t, err := time.Parse(stampLayout, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
