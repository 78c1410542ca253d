package record

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// headers writes field lines as a member that is an object: names in lower case, in the order in which they came first; the
// values of lines of one name with ", " between them (RFC 9110 §5.3). Without lines there is no member.
func (e *Encoder) headers(w *writer, as field, fields []sdk.Field) {
	if len(fields) == 0 || !w.on.has(as) {
		return
	}
	begun := false
	for i := range fields {
		f := &fields[i]
		if !e.wants(as, f.Name) || again(fields[:i], f.Name) {
			continue
		}
		if begun {
			w.b = append(w.b, ',')
		} else {
			w.b = append(w.member("headers"), '{')
		}
		begun = true
		w.b = append(appendString(w.b, strings.ToLower(f.Name)), ':')
		w.b = appendString(w.b, e.hidden.header(f.Name, joined(fields[i:], f.Name)))
	}
	if begun {
		w.b = append(w.b, '}')
	}
}

// wants reports whether a header field is written.
func (e *Encoder) wants(as field, name string) bool {
	switch {
	case e.header == nil:
		return true
	case as == requestHeaders:
		return sdk.NameIn(e.header.Header, name)
	}
	return sdk.NameIn(e.header.ReplyHeader, name)
}

// again reports whether one of the lines has the name.
func again(fields []sdk.Field, name string) bool {
	for i := range fields {
		if sdk.EqualFold(fields[i].Name, name) {
			return true
		}
	}
	return false
}

// joined is the value of all lines of the name that the first has.
func joined(fields []sdk.Field, name string) string {
	value := fields[0].Value
	for _, f := range fields[1:] {
		if sdk.EqualFold(f.Name, name) {
			value += ", " + f.Value
		}
	}
	return value
}

// headerEndings are those that make a secret of a header field, besides the endings of any name: X-Auth-Key, X-Original-Authorization.
func headerEndings() []string {
	return []string{
		"auth", "authorization", "bearer", "cookie", "cookie2", "credential", "credentials", "jwt", "key", "passwd", "session", "sessionid",
	}
}

// noSecrets are header fields that end like secrets and are none (RFC 6455 §11.3.1; Idempotency-Key and Surrogate-Key of
// many APIs).
func noSecrets() []string { return []string{"idempotencykey", "secwebsocketkey", "surrogatekey"} }

// header returns a field's value with what is secret in it hidden: all of it, or in addresses their credentials and the
// secrets of their queries.
func (r *redactor) header(name, value string) string {
	if value == "" {
		return value
	}
	if r.secretHeader(name) {
		return Hidden
	}
	if !r.off {
		value = withoutUser(value)
	}
	at := strings.IndexAny(value, "?#")
	if at < 0 {
		return value
	}
	out := value[:at]
	for rest := value[at:]; rest != ""; { // queries and fragments of addresses: Referer, Location
		end := len(rest)
		if i := strings.IndexAny(rest[1:], "?#"); i >= 0 {
			end = 1 + i
		}
		out += rest[:1] + r.query(rest[1:end])
		rest = rest[end:]
	}
	return out
}

func (r *redactor) secretHeader(name string) bool {
	if r.secret(name) {
		return true
	}
	if r.off {
		return false
	}
	var buf [maxName]byte
	plain, _ := normal(&buf, name) // what is too long is a secret, above
	for _, n := range noSecrets() {
		if string(plain) == n {
			return false
		}
	}
	for _, e := range headerEndings() {
		if len(plain) >= len(e) && string(plain[len(plain)-len(e):]) == e {
			return true
		}
	}
	return false
}

// withoutUser hides what stands between the scheme of an address and its host.
func withoutUser(value string) string {
	const scheme = "://"
	done := 0
	var out strings.Builder
	for {
		i := strings.Index(value[done:], scheme)
		if i < 0 {
			break
		}
		from := done + i + len(scheme)
		end := len(value)
		if j := strings.IndexAny(value[from:], "/?#<>\"', \t"); j >= 0 {
			end = from + j
		}
		at := strings.LastIndexByte(value[from:end], '@')
		out.WriteString(value[done:from])
		if done = from; at >= 0 {
			out.WriteString(Hidden)
			done = from + at
		}
	}
	if done == 0 {
		return value
	}
	return out.String() + value[done:]
}
