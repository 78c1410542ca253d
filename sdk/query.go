package sdk

import (
	"iter"
	"net/url"
	"strings"
)

// Query is the query of a request target: name=value pairs in order. It is parsed only when a pair is asked for, and
// pairs nobody changes keep their bytes, whatever escapes they use. Not safe for concurrent use.
type Query struct {
	raw    string
	pairs  []pair
	parsed bool
	stale  bool // pairs changed, raw not yet rebuilt
	edited bool
}

type pair struct{ name, value, raw string }

// Raw returns the query as it stands behind the "?", without it.
func (q *Query) Raw() string {
	if q.stale {
		var b strings.Builder
		for i := range q.pairs {
			if i > 0 {
				b.WriteByte('&')
			}
			b.WriteString(q.pairs[i].raw)
		}
		q.raw, q.stale = b.String(), false
	}
	return q.raw
}

// SetRaw replaces the whole query by raw, taken as it is. Characters that no query may hold make the hook fail.
func (q *Query) SetRaw(raw string) {
	q.load(raw)
	q.edited = true
}

// Get returns the first value of name, unescaped, or "".
func (q *Query) Get(name string) string {
	v, _ := q.Lookup(name)
	return v
}

// Lookup returns the first value of name, unescaped, and whether there is one.
func (q *Query) Lookup(name string) (string, bool) {
	q.parse()
	for i := range q.pairs {
		if q.pairs[i].name == name {
			return q.pairs[i].value, true
		}
	}
	return "", false
}

// Has reports whether name occurs.
func (q *Query) Has(name string) bool {
	_, ok := q.Lookup(name)
	return ok
}

// Values returns all values of name in order, unescaped, in a new slice; nil when there is none.
func (q *Query) Values(name string) []string {
	var vs []string
	for n, v := range q.All() {
		if n == name {
			vs = append(vs, v)
		}
	}
	return vs
}

// All iterates over the pairs in order, names and values unescaped.
func (q *Query) All() iter.Seq2[string, string] {
	q.parse()
	return func(yield func(string, string) bool) {
		for i := range q.pairs {
			if !yield(q.pairs[i].name, q.pairs[i].value) {
				return
			}
		}
	}
}

// Set replaces every value of name by one. The first pair of that name keeps its place; without one, it is appended.
func (q *Query) Set(name, value string) {
	q.parse()
	at := -1
	for i := range q.pairs {
		if q.pairs[i].name == name {
			at = i
			break
		}
	}
	if at < 0 {
		q.Add(name, value)
		return
	}
	q.pairs[at] = newPair(name, value)
	out := q.pairs[:at+1]
	for _, p := range q.pairs[at+1:] {
		if p.name != name {
			out = append(out, p)
		}
	}
	q.keep(out)
}

// Add appends a pair.
func (q *Query) Add(name, value string) {
	q.parse()
	q.keep(append(q.pairs, newPair(name, value)))
}

// Del removes every pair of that name.
func (q *Query) Del(name string) {
	q.parse()
	out := q.pairs[:0]
	for _, p := range q.pairs {
		if p.name != name {
			out = append(out, p)
		}
	}
	if len(out) != len(q.pairs) {
		q.keep(out)
	}
}

func (q *Query) keep(ps []pair) {
	q.pairs, q.stale, q.edited = ps, true, true
}

func (q *Query) load(raw string) {
	q.raw, q.pairs, q.parsed, q.stale = raw, q.pairs[:0], false, false
}

func (q *Query) parse() {
	if q.parsed {
		return
	}
	q.parsed = true
	for rest := q.raw; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		q.pairs = append(q.pairs, pair{unescape(name), unescape(value), part})
	}
}

func newPair(name, value string) pair {
	return pair{name, value, url.QueryEscape(name) + "=" + url.QueryEscape(value)}
}

// unescape decodes s, or returns it as it is when its escapes are broken: the pair then still travels byte for byte.
func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
