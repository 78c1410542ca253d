package wire

import (
	"cmp"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// ObjectOptions says how a hook behind Tyk's protocol is spoken to. [AppendObject] and [ApplyObject] are given the same.
type ObjectOptions struct {
	RawBodyOnly     bool // send bodies as bytes only, not as text too
	VerbatimHeaders bool // keep the spelling of header names the server sets
}

// hookTypes are the coprocess hook types of our phases.
var hookTypes = [...]uint64{sdk.Pre: 1, sdk.Auth: 4, sdk.PostKeyAuth: 3, sdk.Post: 2, sdk.ResponsePhase: 5}

func hookType(p sdk.Phase) uint64 {
	if int(p) < len(hookTypes) {
		return hookTypes[p]
	}
	return 0
}

// AppendObject appends the coprocess.Object that calls the named hook in the exchange's phase with what Tyk sends: the
// whole request with its buffered body, in the response phase the reply as well. Header names are in canonical form.
func AppendObject(b []byte, x *sdk.Exchange, hook string, o ObjectOptions) []byte {
	b = appendUint(b, 1, hookType(x.Phase()))
	b = appendText(b, 2, hook)
	b = appendObjectRequest(b, x.Request(), o)
	s := x.Session()
	switch x.Phase() {
	case sdk.PostKeyAuth, sdk.Post:
		if s != nil {
			b = appendSession(b, 4, s)
			for k, v := range s.Metadata {
				b = appendEntry(b, 5, k, v)
			}
		}
	case sdk.ResponsePhase:
		b = appendSession(b, 4, s)
	}
	r := x.Route()
	b = appendEntry(b, 6, "OrgID", r.Org)
	b = appendEntry(b, 6, "APIID", r.ID)
	b = appendEntry(b, 6, "bundle_hash", cmp.Or(r.Bundle, noBundle))
	if config := x.Config(); len(config) > 0 {
		b = appendConfig(b, config)
	}
	if x.Phase() == sdk.ResponsePhase {
		b = appendObjectResponse(b, 7, x.Response(), o)
	}
	return b
}

// noBundle is what Tyk's protocol says of a route without bundle: the MD5 of no name.
const noBundle = "d41d8cd98f00b204e9800998ecf8427e"

// appendConfig appends the route's configuration as an entry of Object.spec.
func appendConfig(b, config []byte) []byte {
	const key = "config_data"
	if !utf8.Valid(config) {
		return appendEntry(b, 6, key, string(config))
	}
	b = appendKey(b, 6, length)
	b = appendVarint(b, uint64(2+sizeBytes(len(key))+sizeBytes(len(config))))
	return appendBytes(appendBytes(b, 1, key), 2, config)
}

func appendObjectRequest(b []byte, r *sdk.Request, o ObjectOptions) []byte {
	b, at := open(b, 3, 500+2*len(r.Body()))
	b = appendFirstValues(b, 1, r.Header().Fields())
	b = appendEntry(b, 1, "Host", r.Host())
	if r.Buffered() && !o.RawBodyOnly && utf8.Valid(r.Body()) {
		b = appendSome(b, 4, r.Body())
	}
	query := r.Query().Raw()
	b = appendURL(b, 5, r.Path(), query)
	b = appendParams(b, 6, query)
	b, overrides := open(b, 10, 11)
	b = appendVarint(appendKey(b, 1, varint), uncut) // response_code
	b = shut(b, overrides)
	b = appendText(b, 11, r.Method())
	b = appendText(b, 12, r.URI())
	b = appendText(b, 13, r.Scheme())
	b = appendSome(b, 14, r.Body())
	b = appendBool(b, 100, true)
	return shut(b, at)
}

// uncut is -1 as an int32 field carries it.
const uncut = 1<<64 - 1

// appendFirstValues appends a map of header names, canonical, to their first values. Of entries with one key the last
// counts for every reader of maps, so writing the lines backwards leaves the first values.
func appendFirstValues(b []byte, number uint64, fields []sdk.Field) []byte {
	for i := len(fields) - 1; i >= 0; i-- {
		f := &fields[i]
		name, value := valid(f.Name), valid(f.Value)
		b = appendKey(b, number, length)
		b = appendVarint(b, uint64(2+sizeBytes(len(name))+sizeBytes(len(value))))
		b = appendBytes(b, 1, name)
		canonical(b[len(b)-len(name):])
		b = appendBytes(b, 2, value)
	}
	return b
}

// canonical puts a header name into canonical form in place: a capital at the beginning and behind each hyphen, else
// small letters. A name that is no token stays as it is.
func canonical(name []byte) {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return
		}
	}
	capital := true
	for i, c := range name {
		if capital && 'a' <= c && c <= 'z' {
			name[i] = c - 0x20
		} else if !capital && 'A' <= c && c <= 'Z' {
			name[i] = c + 0x20
		}
		capital = c == '-'
	}
}

// canonicalName is the canonical form of a header name.
func canonicalName(name string) string {
	b := []byte(name)
	canonical(b)
	return string(b)
}

func appendURL(b []byte, number uint64, path, query string) []byte {
	if !utf8.ValidString(path) || !utf8.ValidString(query) {
		path, query = valid(path), valid(query)
	}
	n := len(path)
	if query != "" {
		n += 1 + len(query)
	}
	if n == 0 {
		return b
	}
	b = appendVarint(appendKey(b, number, length), uint64(n))
	b = append(b, path...)
	if query != "" {
		b = append(append(b, '?'), query...)
	}
	return b
}

// appendParams appends a map of the query's names to their first values, backwards like headers.
func appendParams(b []byte, number uint64, query string) []byte {
	for query != "" {
		var last string
		if i := strings.LastIndexByte(query, '&'); i >= 0 {
			query, last = query[:i], query[i+1:]
		} else {
			query, last = "", query
		}
		if name, value, ok := param(last); ok {
			b = appendEntry(b, number, name, value)
		}
	}
	return b
}

// param reads one pair of a query as Tyk's gateway does: pairs with a semicolon or broken escapes are none.
func param(s string) (name, value string, ok bool) {
	if s == "" || strings.IndexByte(s, ';') >= 0 {
		return "", "", false
	}
	name, value, _ = strings.Cut(s, "=")
	name, err := url.QueryUnescape(name)
	if err != nil {
		return "", "", false
	}
	value, err = url.QueryUnescape(value)
	return name, value, err == nil
}

func appendObjectResponse(b []byte, number uint64, r *sdk.Response, o ObjectOptions) []byte {
	b, at := open(b, number, 500+2*len(r.Body()))
	b = appendInt(b, 1, int64(int32(r.Status())))
	b = appendSome(b, 2, r.Body())
	if r.Buffered() && !o.RawBodyOnly && utf8.Valid(r.Body()) {
		b = appendSome(b, 3, r.Body())
	}
	fields := r.Header().Fields()
	b = appendFirstValues(b, 4, fields)
	b = appendMultiValues(b, 5, fields)
	b = appendBool(b, 100, true)
	return shut(b, at)
}

// fewFields is how many header lines may be searched line by line.
const fewFields = 64

// appendMultiValues appends each header name with all its values, in the order in which names first occur.
func appendMultiValues(b []byte, number uint64, fields []sdk.Field) []byte {
	if len(fields) > fewFields {
		for _, g := range grouped(fields) {
			b = appendMultiValue(b, number, g.name, g.values)
		}
		return b
	}
	for i := range fields {
		name := fields[i].Name
		if hasName(fields[:i], name) {
			continue
		}
		var at mark
		b, at = open(b, number, 64)
		b = appendBytes(b, 1, valid(name))
		canonical(b[len(b)-len(valid(name)):])
		for j := i; j < len(fields); j++ {
			if sdk.EqualFold(fields[j].Name, name) {
				b = appendBytes(b, 2, valid(fields[j].Value))
			}
		}
		b = shut(b, at)
	}
	return b
}

func hasName(fields []sdk.Field, name string) bool {
	for i := range fields {
		if sdk.EqualFold(fields[i].Name, name) {
			return true
		}
	}
	return false
}

func appendMultiValue(b []byte, number uint64, name string, values []string) []byte {
	b, at := open(b, number, 64)
	b = appendText(b, 1, name)
	return shut(appendTexts(b, 2, values), at)
}

// group is a header name in canonical form with all its values.
type group struct {
	name   string
	values []string
}

// grouped collects lines by name, in the order in which names first occur.
func grouped(fields []sdk.Field) []group {
	groups := make([]group, 0, len(fields))
	index := make(map[string]int, len(fields))
	for _, f := range fields {
		name := canonicalName(valid(f.Name))
		i, ok := index[name]
		if !ok {
			i = len(groups)
			index[name] = i
			groups = append(groups, group{name: name})
		}
		groups[i].values = append(groups[i].values, valid(f.Value))
	}
	return groups
}
