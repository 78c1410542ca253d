package sdk

import (
	"net/netip"
	"slices"
)

// Snapshot is an exchange as plain data: what it was at one moment, to keep, compare or print.
type Snapshot struct {
	Phase     Phase
	Route     Route
	RequestID string
	Trace     Trace
	Client    netip.AddrPort
	Request   RequestSnapshot
	Response  ResponseSnapshot
	Answered  bool
	Session   *Session
	Values    map[string]string
	Config    string
}

// RequestSnapshot is the request of a [Snapshot].
type RequestSnapshot struct {
	Method, Scheme, Host, Path, Query, URI, Proto string

	Header []Field
	Body   []byte // nil unless buffered
}

// ResponseSnapshot is the reply of a [Snapshot].
type ResponseSnapshot struct {
	Status int
	Header []Field
	Body   []byte // nil unless buffered
}

// Snapshot copies the exchange.
func (x *Exchange) Snapshot() Snapshot {
	s := Snapshot{
		Phase: x.phase, RequestID: x.id, Trace: x.trace, Client: x.client, Answered: x.answered, Config: string(x.Config()),
		Request: RequestSnapshot{
			Method: x.request.method, Scheme: x.request.scheme, Host: x.request.host, Path: x.request.path,
			Query: x.request.query.Raw(), URI: x.request.uri, Proto: x.request.proto,
			Header: slices.Clone(x.request.header.fields), Body: slices.Clone(x.request.body),
		},
		Response: ResponseSnapshot{
			Status: x.response.status, Header: slices.Clone(x.response.header.fields), Body: slices.Clone(x.response.body),
		},
	}
	if x.route != nil {
		s.Route = *x.route
		s.Route.Config = slices.Clone(x.route.Config)
	}
	if x.session != nil {
		s.Session = x.session.Clone()
	}
	for _, v := range x.Values() {
		if v.Data == nil {
			continue
		}
		if s.Values == nil {
			s.Values = map[string]string{}
		}
		s.Values[v.Name] = string(v.Data)
	}
	return s
}
