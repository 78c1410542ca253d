package host

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
)

var _ rules.Variables = (*state)(nil)

// Meta returns an entry of the session's metadata. A dotted name reaches into entries that are JSON objects.
func (st *state) Meta(name string) string {
	s := st.f.X.Session()
	if s == nil {
		return ""
	}
	if v, ok := s.Metadata[name]; ok {
		return v
	}
	for at := 0; ; {
		next := strings.IndexByte(name[at:], '.')
		if next < 0 {
			return ""
		}
		at += next + 1
		if v, ok := s.Metadata[name[:at-1]]; ok {
			return member([]byte(v), name[at:])
		}
	}
}

// member returns what a dotted path leads to in a JSON object: strings as they are, other values as JSON; "" for nothing.
func member(object []byte, path string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return ""
	}
	v, ok := fields[path]
	if !ok {
		key, rest, nested := strings.Cut(path, ".")
		if v, ok = fields[key]; ok && nested {
			return member(v, rest)
		}
	}
	if !ok || string(v) == "null" {
		return ""
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	return string(v)
}

// claims is the value under which an authenticator of JWTs leaves their claims.
const claims = "jwt_claims"

// Context returns a context variable by its name in classic definitions (reference §11).
func (st *state) Context(name string) string {
	x := &st.f.X
	q := x.Request()
	switch name {
	case "path":
		return q.Path()
	case "path_parts":
		return strings.Join(strings.Split(strings.Trim(q.Path(), "/"), "/"), ",")
	case "remote_addr":
		return x.ClientAddr().Addr().String()
	case "request_id":
		return x.RequestID()
	case "token":
		if st.sameCaller() {
			return st.caller.View.KeyID // what was verified, not what else there is
		}
		return strings.TrimPrefix(st.credential(), "Bearer ")
	case "tyk_trace_id":
		return traceID(x.Trace().Parent)
	case "headers_Host":
		return q.Host()
	}
	family, rest, _ := strings.Cut(name, "_")
	switch {
	case family == "headers":
		return st.headerVariable(rest)
	case family == "cookies":
		return cookie(q.Header(), rest)
	case strings.HasPrefix(name, "request_data_"):
		return strings.Join(q.Query().Values(strings.TrimPrefix(name, "request_data_")), ",")
	case strings.HasPrefix(name, claims+"_"):
		return member(x.Value(claims), strings.TrimPrefix(name, claims+"_"))
	case strings.HasPrefix(name, "quota_"):
		return of(st.verdict.Quotas, st.limited, strings.TrimPrefix(name, "quota_"))
	case strings.HasPrefix(name, "rate_limit_"):
		return of(st.verdict.Rates, st.limited, strings.TrimPrefix(name, "rate_limit_"))
	}
	return ""
}

// headerVariable returns the values of a header by its name with "_" for "-".
func (st *state) headerVariable(name string) string {
	var values []string
	for n, v := range st.f.X.Request().Header().All() {
		if len(n) == len(name) && strings.EqualFold(strings.ReplaceAll(n, "-", "_"), name) {
			values = append(values, v)
		}
	}
	return strings.Join(values, ",")
}

// of returns a figure of the first bucket.
func of(states []limit.State, known bool, figure string) string {
	if !known || len(states) == 0 {
		return "0"
	}
	s := &states[0]
	switch figure {
	case "limit":
		return strconv.FormatInt(s.Limit, 10)
	case "remaining":
		return strconv.FormatInt(s.Remaining, 10)
	case "reset":
		if !s.Reset.IsZero() {
			return strconv.FormatInt(s.Reset.Unix(), 10)
		}
		return "0"
	}
	return ""
}

// traceID is the trace's part of a traceparent (W3C Trace Context §3.2.2).
func traceID(parent string) string {
	if parts := strings.Split(parent, "-"); slices.Contains([]int{4, 5}, len(parts)) {
		return parts[1]
	}
	return ""
}
