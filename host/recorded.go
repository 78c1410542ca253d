package host

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe/tap"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// observed is a route's use of a tap.
type observed struct {
	*tap.Tap
	own    sdk.RecordNeeds  // what the definition asks for
	needer sdk.RecordNeeder // nil: the observer itself asks for nothing
}

func newObserved(t *tap.Tap, ref config.ObserverRef, o sdk.Observer) observed {
	needer, _ := o.(sdk.RecordNeeder)
	return observed{t, sdk.RecordNeeds{Header: patternsOf(ref.Headers), ReplyHeader: patternsOf(ref.ResponseHeaders)}, needer}
}

func patternsOf(n config.HeaderNeeds) []string {
	if n.All {
		return []string{"*"}
	}
	return n.Names
}

// asks reports whether the observer may want headers, now or later.
func (o *observed) asks() bool { return o.needer != nil || !o.own.None() }

// keepHeader remembers the header as the client sent it, where an observer may ask for it: hooks change it, and what the
// gateway does itself takes credentials off.
func (st *state) keepHeader() {
	if st.route.headed && !st.route.definition.DoNotTrack {
		st.sent = append(st.sent, st.f.X.Request().Header().Fields()...)
	}
}

// tell hands the record to the route's observers, to each with the headers that it asks for. They get copies.
func (st *state) tell(r *sdk.Record) {
	for i := range st.route.taps {
		o := &st.route.taps[i]
		r.Header, r.ReplyHeader, r.HeaderCut = nil, nil, false
		if o.asks() {
			st.addHeaders(o, r)
		}
		o.Record(r)
	}
}

func (st *state) addHeaders(o *observed, r *sdk.Record) {
	var needs sdk.RecordNeeds
	if o.needer != nil {
		needs = o.needer.RecordNeeds()
	}
	request := selection{names: o.own.Header, more: needs.Header, secret: st.route.secretHeaders}
	reply := selection{names: o.own.ReplyHeader, more: needs.ReplyHeader}
	r.Header = request.of(st.sent)
	r.ReplyHeader = reply.of(st.f.X.Response().Header().Fields())
	r.HeaderCut = request.cut || reply.cut
}

// What a record holds of a header at most, so that nobody fills the observers' queues with one request.
const (
	mostFields = 64
	mostValue  = 1 << 10
	mostHeader = 8 << 10 // names and values together
)

// selection takes what is wanted out of a header, within bounds.
type selection struct {
	names, more []string // that are wanted

	secret []string // names of what holds credentials of the gateway's own methods
	cut    bool     // the bounds left something out
}

func (s *selection) of(fields []sdk.Field) []sdk.Field {
	if len(s.names)+len(s.more) == 0 {
		return nil
	}
	var out []sdk.Field
	size := 0
	for _, f := range fields {
		if !sdk.NameIn(s.names, f.Name) && !sdk.NameIn(s.more, f.Name) {
			continue
		}
		if slices.ContainsFunc(s.secret, func(n string) bool { return sdk.EqualFold(n, f.Name) }) {
			f.Value = hiddenValue
		}
		if len(f.Value) > mostValue {
			f.Value, s.cut = shortened(f.Value), true
		}
		if size += len(f.Name) + len(f.Value); len(out) == mostFields || size > mostHeader {
			s.cut = true
			break
		}
		out = append(out, f)
	}
	return out
}

// shortened is the beginning of a text, of mostValue bytes at most, that does not end within a character, and an ellipsis.
func shortened(text string) string {
	const ellipsis = "…"
	end := mostValue - len(ellipsis)
	for end > mostValue-len(ellipsis)-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// hiddenValue stands in place of credentials.
const hiddenValue = "hidden"

// queryShown is the query as the client sent it, without credentials: what observers get ends in files.
func (st *state) queryShown() string {
	if st.query == "" || len(st.route.secret) == 0 {
		return st.query
	}
	var q sdk.Query
	q.SetRaw(st.query)
	for _, name := range st.route.secret {
		if q.Has(name) {
			q.Set(name, hiddenValue)
		}
	}
	return q.Raw()
}

func (st *state) record(status int, took, upstream time.Duration) sdk.Record {
	f := st.f
	x, q := &f.X, f.X.Request()
	rec := sdk.Record{
		Time: f.Start, Duration: took, Upstream: upstream, RequestID: x.RequestID(), Trace: x.Trace(),
		Route: st.route.info.ID, RouteName: st.route.info.Name, Org: st.route.info.Org, Client: x.ClientAddr(),
		Method: st.method, Scheme: q.Scheme(), Host: q.Host(), Path: st.path, Query: st.queryShown(), Proto: q.Proto(),
		UserAgent: q.Header().Get("User-Agent"), Status: status, RequestSize: f.BytesIn, ReplySize: f.BytesOut,
		Target: f.Reply.Target, AnsweredBy: st.answeredBy, Error: st.failure,
		Tags:  st.route.definition.Tags,
		Hooks: append([]sdk.HookRecord(nil), st.records...),
	}
	if tags := x.Tags(); len(tags) > 0 {
		rec.Tags = append(slices.Clip(rec.Tags), tags...)
	}
	if s := x.Session(); s != nil {
		rec.Alias, rec.KeyHash = s.Alias, keyHash(s.KeyID)
		if len(s.Tags) > 0 {
			rec.Tags = append(slices.Clip(rec.Tags), s.Tags...)
		}
	}
	return rec
}
