package record

import (
	"fmt"
	"math/bits"
	"strings"
)

// field is one field of the schema.
type field uint8

// The fields, in the order in which they are written. names has how they are called.
const (
	kind field = iota
	timeStamp
	eventType
	requestID
	traceID
	apiID
	apiName
	apiOrg
	requestMethod
	requestScheme
	requestHost
	requestPath
	requestQuery
	requestProto
	requestUserAgent
	requestClient
	requestBytes
	requestHeaders
	responseStatus
	responseBytes
	responseBy
	responseTarget
	responseHeaders
	timingTotal
	timingUpstream
	keyAlias
	keyHash
	tags
	failure
	headersCut
	hooks
	message
	meta
	fieldEnd
)

func names() [fieldEnd]string {
	return [fieldEnd]string{
		"kind", "time", "type", "request_id", "trace_id", "api.id", "api.name", "api.org",
		"request.method", "request.scheme", "request.host", "request.path", "request.query", "request.proto",
		"request.user_agent", "request.client", "request.bytes", "request.headers",
		"response.status", "response.bytes", "response.by", "response.target", "response.headers",
		"timing.total_ms", "timing.upstream_ms", "key.alias", "key.hash", "tags", "error", "headers_cut", "hooks", "message", "meta",
	}
}

// set is a set of fields.
type set uint64

func (s set) has(f field) bool { return s&(1<<f) != 0 }

// any reports whether one of the fields from a to b is in s.
func (s set) any(a, b field) bool { return s>>a<<a&(1<<(b+1)-1) != 0 }

const everything = set(1<<fieldEnd - 1)

// parseFields makes a set of names; the name of an object stands for all that is in it.
func parseFields(list []string) (set, error) {
	var out set
	for _, name := range list {
		before := bits.OnesCount64(uint64(out))
		found := false
		for f, n := range names() {
			if n == name || strings.HasPrefix(n, name+".") {
				out |= 1 << f
				found = true
			}
		}
		if !found {
			return 0, fmt.Errorf("there is no field %q: the fields are %s", name, strings.Join(all(), ", "))
		}
		if bits.OnesCount64(uint64(out)) == before {
			return 0, fmt.Errorf("field %q is listed twice", name)
		}
	}
	return out, nil
}

func all() []string {
	list := names()
	return list[:]
}
