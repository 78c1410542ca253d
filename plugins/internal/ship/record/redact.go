package record

import (
	"fmt"
	"net/url"
	"strings"
)

// Hidden is what stands in place of a secret.
const Hidden = "hidden"

// secrets are the names, in lower case and without - and _, of what is a secret wherever it stands: as a query
// parameter, or among the facts of an event.
func secrets() []string {
	return []string{
		"auth", "authorization", "bearer", "code", "cookie", "credential", "credentials", "jwt", "key", "pass", "passcode", "passwd",
		"pin", "pwd", "sas", "session", "sessionid", "sid", "sig", "xamzcredential", "proxyauthorization", "setcookie",
		"originatingrequest", // of events: the request with its header and its body, in base64
	}
}

// endings are those that make a secret of any name that ends so, such as refresh_token and X-Api-Key.
func endings() []string {
	return []string{"token", "secret", "password", "passphrase", "apikey", "accesskey", "privatekey", "signature", "assertion"}
}

// redactor knows the names of secrets. It is immutable.
type redactor struct {
	names   map[string]bool
	endings []string
	off     bool // the usual names are not known
}

// newRedactor knows the usual names unless off says so, and more besides.
func newRedactor(more []string, off bool) (redactor, error) {
	r := redactor{names: map[string]bool{}, off: off}
	if !off {
		r.endings = endings()
		for _, n := range secrets() {
			r.names[n] = true
		}
	}
	for _, n := range more {
		var buf [maxName]byte
		plain, ok := normal(&buf, n)
		if !ok || len(plain) == 0 {
			return r, fmt.Errorf("%q cannot be the name of a secret: at most %d bytes, letters and digits among them", n, maxName)
		}
		r.names[string(plain)] = true
	}
	return r, nil
}

const maxName = 64

// normal is a name in lower case without what people separate words with; not ok when it is too long to be looked up.
func normal(buf *[maxName]byte, name string) ([]byte, bool) {
	n := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '-' || c == '_' || c == '.' || c == ' ':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if n == maxName {
			return nil, false
		}
		buf[n] = c
		n++
	}
	return buf[:n], true
}

// secret reports whether what has that name is one.
func (r *redactor) secret(name string) bool {
	if len(r.names) == 0 {
		return false
	}
	var buf [maxName]byte
	plain, ok := normal(&buf, name)
	if !ok {
		return len(r.endings) > 0 // nobody has a good reason for such a name
	}
	if r.names[string(plain)] {
		return true
	}
	for _, e := range r.endings {
		if len(plain) >= len(e) && string(plain[len(plain)-len(e):]) == e {
			return true
		}
	}
	return false
}

// query returns a raw query with the values of secrets hidden. Nothing is allocated when there are none.
func (r *redactor) query(raw string) string {
	var out []byte
	done := 0 // how much of raw is in out
	for at := 0; at < len(raw); {
		end, equals := at, -1
		for ; end < len(raw) && raw[end] != '&' && raw[end] != ';'; end++ {
			if equals < 0 && raw[end] == '=' {
				equals = end
			}
		}
		if equals >= 0 && equals+1 < end && r.secret(unescaped(raw[at:equals])) {
			if out == nil {
				out = make([]byte, 0, len(raw)+2*len(Hidden))
			}
			out = append(out, raw[done:equals+1]...)
			out = append(out, Hidden...)
			done = end
		}
		at = end + 1
	}
	if done == 0 {
		return raw
	}
	return string(append(out, raw[done:]...))
}

func unescaped(name string) string {
	if !strings.ContainsAny(name, "%+") {
		return name
	}
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	return name
}
