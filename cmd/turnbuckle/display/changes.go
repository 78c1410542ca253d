// Package display is how commands for authors of plugins show what hooks do: what an exchange was before and after, and
// text that others chose, on terminals and elsewhere.
package display

import (
	"encoding/json"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Change is one thing that a hook changed. Before and After are empty where there was or is nothing. Its JSON is what
// commands print with --json.
type Change struct {
	// What is method, path, query, header, body, session, value, or reply status, reply header and reply body.
	What string `json:"what"`
	// Name is a header's, a value's, or a key of the session.
	Name   string   `json:"name,omitempty"`
	Before []string `json:"before"`
	After  []string `json:"after"`
}

// Changes lists what differs. Bytes that are no text are quoted as Go does.
func Changes(before, after *sdk.Snapshot) []Change {
	var all []Change
	add := func(what, name string, before, after []string) {
		if !slices.Equal(before, after) {
			all = append(all, Change{what, name, shown(before), shown(after)})
		}
	}
	a, b := &before.Request, &after.Request
	add("method", "", some(a.Method), some(b.Method))
	add("path", "", some(a.Path), some(b.Path))
	add("query", "", some(a.Query), some(b.Query))
	headers(a.Header, b.Header, func(name string, before, after []string) { add("header", name, before, after) })
	add("body", "", some(string(a.Body)), some(string(b.Body)))
	who, is := SessionKeys(before.Session), SessionKeys(after.Session)
	for _, key := range union(who, is) {
		add("session", key, some(who[key]), some(is[key]))
	}
	for _, name := range union(before.Values, after.Values) {
		add("value", name, some(before.Values[name]), some(after.Values[name]))
	}
	p, q := &before.Response, &after.Response
	add("reply status", "", status(p.Status), status(q.Status))
	headers(p.Header, q.Header, func(name string, before, after []string) { add("reply header", name, before, after) })
	add("reply body", "", some(string(p.Body)), some(string(q.Body)))
	return all
}

func some(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func status(code int) []string {
	if code == 0 {
		return nil
	}
	return []string{strconv.Itoa(code)}
}

func shown(values []string) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = v
		if !utf8.ValidString(v) {
			all[i] = strconv.Quote(v)
		}
	}
	return all
}

// headers compares names of both, those of before first. Names are spelled as before, where they are there.
func headers(before, after []sdk.Field, each func(name string, before, after []string)) {
	values := func(fields []sdk.Field, name string) []string {
		var all []string
		for _, f := range fields {
			if sdk.EqualFold(f.Name, name) {
				all = append(all, f.Value)
			}
		}
		return all
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(before, after) {
		key := textproto.CanonicalMIMEHeaderKey(f.Name)
		if seen[key] {
			continue
		}
		seen[key] = true
		each(f.Name, values(before, f.Name), values(after, f.Name))
	}
}

// SessionKeys is a session by the keys of its JSON, without those that say nothing.
func SessionKeys(s *sdk.Session) map[string]string {
	all := map[string]string{}
	if s == nil {
		return all
	}
	text, err := session.Encode(s, true)
	var keys map[string]json.RawMessage
	if err != nil || json.Unmarshal([]byte(text), &keys) != nil {
		return all
	}
	for key, raw := range keys {
		var v any
		if json.Unmarshal(raw, &v) == nil && !Empty(v) {
			all[key] = string(raw)
		}
	}
	return all
}

// Empty reports whether a JSON value says nothing, whatever it is made of.
func Empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, inner := range v {
			if !Empty(inner) {
				return false
			}
		}
		return true
	}
	return false
}

func union(a, b map[string]string) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}
