package httpsig

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Names that mean something of their own among those signed.
const (
	RequestTarget = "(request-target)" // method, path and query
	DateName      = "date"
	AuxDateName   = "x-aux-date"
)

// Message is what a client signed (draft-cavage-http-signatures-10 §2.3): a line for each name, the target as the client
// sent it. As Tyk's clients do, who may not set Date sends X-Aux-Date and signs it, under either name.
func Message(r *sdk.Request, names []string) ([]byte, error) {
	b := make([]byte, 0, 512)
	for i, name := range names {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(append(b, name...), ": "...)
		if name == RequestTarget {
			b = append(append(b, strings.ToLower(r.Method())...), ' ')
			b = append(b, target(r)...)
			continue
		}
		if name == DateName && r.Header().Has(AuxDateName) {
			name = AuxDateName
		}
		var ok bool
		if b, ok = appendValue(b, r, name); !ok {
			return nil, errSigned
		}
		if len(b) > maxMessage {
			return nil, errTooLong
		}
	}
	return b, nil
}

// target is path and query as the client sent them, without the scheme and authority of an absolute form (RFC 9112
// §3.2.2).
func target(r *sdk.Request) string {
	uri := r.URI()
	if strings.HasPrefix(uri, "/") {
		return uri
	}
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		if slash := strings.IndexAny(rest, "/?"); slash < 0 {
			return "/"
		} else if rest[slash] == '?' {
			return "/" + rest[slash:]
		} else {
			return rest[slash:]
		}
	}
	return uri
}

// appendValue appends the values of a header, with ", " between them; false when there is none.
func appendValue(b []byte, r *sdk.Request, name string) ([]byte, bool) {
	found := false
	for _, line := range r.Header().Fields() {
		if !sdk.EqualFold(line.Name, name) {
			continue
		}
		if found {
			b = append(b, ", "...)
		}
		b, found = append(b, trim(line.Value)...), true
	}
	switch {
	case found:
	case name == "host" && r.Host() != "":
		return append(b, r.Host()...), true
	case name == "content-length" && r.Length() >= 0:
		return strconv.AppendInt(b, r.Length(), 10), true
	}
	return b, found
}

// Date returns the time that was signed: X-Aux-Date, else Date. It is false when there is none, or it is not among
// the signed names and so anybody's.
func Date(r *sdk.Request, names []string) (time.Time, bool) {
	name := DateName
	if r.Header().Has(AuxDateName) {
		name = AuxDateName
	}
	if !slices.Contains(names, DateName) && !slices.Contains(names, name) {
		return time.Time{}, false
	}
	value, ok := appendValue(nil, r, name)
	if !ok {
		return time.Time{}, false
	}
	return parseDate(string(value))
}

// parseDate reads an HTTP date (RFC 9110 §5.6.7), with UTC or +0000 for GMT too. Names of other zones say nothing that
// could be relied on.
func parseDate(s string) (time.Time, bool) {
	s = strings.TrimSuffix(s, " UTC")
	s = strings.TrimSuffix(s, " GMT")
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05", "Monday, 02-Jan-06 15:04:05", time.ANSIC, time.RFC1123Z} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
