// Package record writes records and events as JSON, all plugins the same: record.schema.json beside this file is the
// schema, and plugins/RECORDS.md tells people what is in it.
package record

import (
	_ "embed"
	"slices"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed record.schema.json
var schema string

// Schema is the JSON Schema of what an Encoder writes when all fields are wanted.
func Schema() string { return schema }

// Options say what is written. The zero value is everything, without secrets.
type Options struct {
	// Only lists the fields that are written; nil: all. Without lists fields that are not. The name of an object, such as
	// "request", stands for all that is in it.
	Only, Without []string
	// Secret are names of query parameters, header fields, and facts of events, whose values are hidden besides those with the usual
	// names. ShowSecrets hides these alone.
	Secret      []string
	ShowSecrets bool
	// Headers says which of the header fields that records hold are written; nil: all.
	Headers *sdk.RecordNeeds
}

// Encoder writes records and events. It is immutable, and safe for concurrent use.
type Encoder struct {
	on     set
	hidden redactor
	header *sdk.RecordNeeds // nil: all
}

// NewEncoder makes an encoder; the error names the option that is wrong.
func NewEncoder(o Options) (*Encoder, error) {
	e := &Encoder{on: everything, header: o.Headers}
	var err error
	if len(o.Only) > 0 {
		if e.on, err = parseFields(o.Only); err != nil {
			return nil, err
		}
	}
	without, err := parseFields(o.Without)
	if err != nil {
		return nil, err
	}
	e.on &^= without
	e.hidden, err = newRedactor(o.Secret, o.ShowSecrets)
	return e, err
}

// AppendRecord writes a record behind b.
func (e *Encoder) AppendRecord(b []byte, r *sdk.Record) []byte {
	w := writer{b: append(b, '{'), on: e.on}
	w.text(kind, "kind", "request")
	w.moment(timeStamp, "time", r.Time)
	w.text(requestID, "request_id", r.RequestID)
	w.text(traceID, "trace_id", trace(r.Trace))
	w.api(r.Route, r.RouteName, r.Org)
	if w.open(requestMethod, requestHeaders, "request") {
		e.request(&w, r)
		w.close()
	}
	if w.open(responseStatus, responseHeaders, "response") {
		w.integer(responseStatus, "status", int64(r.Status))
		w.integer(responseBytes, "bytes", r.ReplySize)
		w.text(responseBy, "by", r.AnsweredBy)
		w.text(responseTarget, "target", r.Target)
		e.headers(&w, responseHeaders, r.ReplyHeader)
		w.close()
	}
	if w.open(timingTotal, timingUpstream, "timing") {
		w.millis(timingTotal, "total_ms", r.Duration)
		w.millis(timingUpstream, "upstream_ms", r.Upstream)
		w.close()
	}
	if (r.Alias != "" || r.KeyHash != "") && w.open(keyAlias, keyHash, "key") {
		w.text(keyAlias, "alias", r.Alias)
		w.text(keyHash, "hash", r.KeyHash)
		w.close()
	}
	if len(r.Tags) > 0 && w.name(tags, "tags") {
		w.strings(r.Tags)
	}
	w.text(failure, "error", r.Error)
	if r.HeaderCut && w.name(headersCut, "headers_cut") {
		w.b = append(w.b, "true"...)
	}
	if len(r.Hooks) > 0 && w.name(hooks, "hooks") {
		w.hooks(r.Hooks)
	}
	return append(w.b, '}')
}

func (e *Encoder) request(w *writer, r *sdk.Record) {
	w.text(requestMethod, "method", r.Method)
	w.text(requestScheme, "scheme", r.Scheme)
	w.text(requestHost, "host", r.Host)
	w.text(requestPath, "path", r.Path)
	if w.on.has(requestQuery) {
		w.text(requestQuery, "query", e.hidden.query(r.Query))
	}
	w.text(requestProto, "proto", r.Proto)
	w.text(requestUserAgent, "user_agent", r.UserAgent)
	if r.Client.IsValid() && w.name(requestClient, "client") {
		w.b = append(w.b, '"')
		w.b = r.Client.Addr().Unmap().WithZone("").AppendTo(w.b)
		w.b = append(w.b, '"')
	}
	w.integer(requestBytes, "bytes", r.RequestSize)
	e.headers(w, requestHeaders, r.Header)
}

// AppendEvent writes an event behind b.
func (e *Encoder) AppendEvent(b []byte, ev *sdk.Event) []byte {
	w := writer{b: append(b, '{'), on: e.on}
	w.text(kind, "kind", "event")
	w.moment(timeStamp, "time", ev.Time)
	w.text(eventType, "type", ev.Type)
	w.text(requestID, "request_id", ev.RequestID)
	w.api(ev.Route, "", ev.Org)
	w.text(message, "message", ev.Message)
	if len(ev.Meta) > 0 && w.name(meta, "meta") {
		e.meta(&w, ev.Meta)
	}
	return append(w.b, '}')
}

// meta writes the facts of an event in the order of their names.
func (e *Encoder) meta(w *writer, facts map[string]string) {
	names := make([]string, 0, len(facts))
	for n := range facts {
		names = append(names, n)
	}
	slices.Sort(names)
	w.b = append(w.b, '{')
	for i, n := range names {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(appendString(w.b, n), ':')
		value := facts[n]
		if e.hidden.secret(n) && value != "" {
			value = Hidden
		}
		w.b = appendString(w.b, value)
	}
	w.b = append(w.b, '}')
}

func (w *writer) api(id, name, org string) {
	if (id != "" || name != "" || org != "") && w.open(apiID, apiOrg, "api") {
		w.text(apiID, "id", id)
		w.text(apiName, "name", name)
		w.text(apiOrg, "org", org)
		w.close()
	}
}

func (w *writer) strings(list []string) {
	w.b = append(w.b, '[')
	for i, s := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = appendString(w.b, s)
	}
	w.b = append(w.b, ']')
}

func (w *writer) hooks(list []sdk.HookRecord) {
	w.b = append(w.b, '[')
	for i := range list {
		h := &list[i]
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = appendString(append(w.b, `{"name":`...), h.Name)
		if h.Server != "" {
			w.b = appendString(append(w.b, `,"server":`...), h.Server)
		}
		w.b = append(append(append(w.b, `,"phase":"`...), h.Phase.String()...), `","outcome":"`...)
		w.b = append(append(w.b, h.Outcome.String()...), '"')
		if h.Changed != 0 {
			w.b = append(w.b, `,"changed":`...)
			w.strings(h.Changed.Names())
		}
		w.b = appendMillis(append(w.b, `,"ms":`...), h.Duration)
		if h.Error != "" {
			w.b = appendString(append(w.b, `,"error":`...), h.Error)
		}
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, ']')
}

// trace is the trace's id out of a traceparent (W3C Trace Context §3.2.2), "" when there is none.
func trace(t sdk.Trace) string {
	const from, to = 3, 35
	if len(t.Parent) < to {
		return ""
	}
	return t.Parent[from:to]
}

// Class is the class of a status as tags and routing keys spell it: 2xx; "none" when there is no status.
func Class(status int) string {
	switch status / 100 {
	case 1, 2, 3, 4, 5:
		return strconv.Itoa(status/100) + "xx"
	}
	return "none"
}
