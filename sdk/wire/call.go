package wire

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Binding names what calls of one stream refer to by number: hooks, run in order, and the route they run for.
type Binding struct {
	ID    uint32
	Phase sdk.Phase
	Hooks []HookUse
	Route *sdk.Route
}

// HookUse is one hook of a [Binding].
type HookUse struct {
	Name   string
	Config []byte // JSON; nil: the route's
}

// AppendBinding appends v as a field of a HostFrame.
func AppendBinding(b []byte, v *Binding) []byte {
	b, at := open(b, 2, 200)
	b = appendUint(b, 1, uint64(v.ID))
	b = appendUint(b, 2, uint64(v.Phase))
	for i := range v.Hooks {
		var h mark
		b, h = open(b, 3, 64)
		b = appendText(b, 1, v.Hooks[i].Name)
		b = appendSome(b, 2, v.Hooks[i].Config)
		b = shut(b, h)
	}
	if r := v.Route; r != nil {
		var in mark
		b, in = open(b, 4, 128)
		b = appendText(b, 1, r.ID)
		b = appendText(b, 2, r.Name)
		b = appendText(b, 3, r.Org)
		b = appendText(b, 4, r.ListenPath)
		b = appendText(b, 5, r.Bundle)
		b = appendSome(b, 6, r.Config)
		b = shut(b, in)
	}
	return shut(b, at)
}

// DecodeBinding reads one of [HostFrame.Bindings]. It copies everything; Route is never nil.
func DecodeBinding(b []byte) (*Binding, error) {
	v := &Binding{Route: &sdk.Route{}}
	var route part
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			v.ID = uint32(c.num)
		case 2<<3 | varint:
			v.Phase = phaseOf(c.num)
		case 3<<3 | length:
			use, err := decodeHookUse(c.val())
			if err != nil {
				return nil, garbage("binding", err)
			}
			if v.Hooks = append(v.Hooks, use); len(v.Hooks) > MaxHooks {
				return nil, garbage("binding", errTooMany)
			}
		case 4<<3 | length:
			route.merge(c.val())
		}
	}
	if c.err != nil {
		return nil, garbage("binding", c.err)
	}
	if err := decodeRoute(route.b, v.Route); err != nil {
		return nil, garbage("route of binding", err)
	}
	return v, nil
}

func decodeHookUse(b []byte) (u HookUse, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			u.Name = string(c.val())
		case 2<<3 | length:
			u.Config = kept(c.val())
		}
	}
	return u, c.err
}

func decodeRoute(b []byte, r *sdk.Route) error {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			r.ID = string(c.val())
		case 2<<3 | length:
			r.Name = string(c.val())
		case 3<<3 | length:
			r.Org = string(c.val())
		case 4<<3 | length:
			r.ListenPath = string(c.val())
		case 5<<3 | length:
			r.Bundle = string(c.val())
		case 6<<3 | length:
			r.Config = kept(c.val())
		}
	}
	return c.err
}

// kept copies v, or returns nil when it is empty.
func kept(v []byte) []byte {
	if len(v) == 0 {
		return nil
	}
	return slices.Clone(v)
}

// phaseOf reads the number of a phase with hooks; one from a later version of the protocol becomes sdk.Log, which has
// none, so that no hook is found for it.
func phaseOf(n uint64) sdk.Phase { return sdk.Phase(min(n, uint64(sdk.Log))) }

// CallHeader is what a call says beside its exchange.
type CallHeader struct {
	ID      uint64 // not in use by another outstanding call of the stream; not 0
	Binding uint32
	Timeout time.Duration // from when the frame was sent; 0: none. Carried in microseconds
}

// AppendCall appends a call with what of x is needed as a field of a HostFrame. Its phase is that of [sdk.Exchange.Begin].
func AppendCall(b []byte, h CallHeader, x *sdk.Exchange, needs sdk.Needs) []byte {
	r := x.Request()
	body := needs.Has(sdk.NeedBody) && r.Buffered()
	reply := x.Phase() == sdk.ResponsePhase
	guess := 500
	if body {
		guess += len(r.Body())
	}
	if reply {
		guess += len(x.Response().Body())
	}
	b, at := open(b, 3, guess)
	b = appendUint(b, 1, h.ID)
	b = appendUint(b, 2, uint64(h.Binding))
	b = appendUint(b, 3, timeoutMicros(h.Timeout))
	b = appendTarget(b, r, needs)
	b = appendText(b, 11, x.RequestID())
	b = appendAddress(b, 12, x.ClientAddr())
	if needs.Has(sdk.NeedHeaders) {
		b = appendFields(b, 13, r.Header().Fields(), needs.HeaderNames)
	}
	if body {
		b = appendBytes(b, 14, r.Body())
	} else {
		b = appendSint(b, 15, r.Length())
	}
	if reply {
		b = appendResponse(b, 16, x.Response(), needs)
	}
	if needs.Has(sdk.NeedSession) && x.Session() != nil {
		b = appendSession(b, 17, x.Session())
	}
	b = appendContext(b, x, needs)
	return shut(b, at)
}

func timeoutMicros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(max(d/time.Microsecond, 1))
}

func appendTarget(b []byte, r *sdk.Request, needs sdk.Needs) []byte {
	b = appendSome(b, 4, r.Method())
	b = appendSome(b, 5, r.Path())
	if needs.Has(sdk.NeedQuery) {
		query := r.Query().Raw()
		b = appendSome(b, 6, query)
		if !isTarget(r.URI(), r.Path(), query) {
			b = appendSome(b, 7, r.URI())
		}
	}
	b = appendSome(b, 8, r.Scheme())
	b = appendSome(b, 9, r.Host())
	return appendSome(b, 10, r.Proto())
}

// isTarget reports whether uri is path and query.
func isTarget[T string | []byte](uri T, path, query string) bool {
	if query == "" {
		return string(uri) == path
	}
	return len(uri) == len(path)+1+len(query) &&
		string(uri[:len(path)]) == path && uri[len(path)] == '?' && string(uri[len(path)+1:]) == query
}

func appendAddress(b []byte, number uint64, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	b, at := open(b, number, 20)
	return shut(a.AppendTo(b), at)
}

func parseAddress(v []byte) netip.AddrPort {
	a, err := netip.ParseAddrPort(string(v))
	if err != nil {
		return netip.AddrPort{} // from a version that writes addresses otherwise: unknown
	}
	return a
}

// appendFields appends header lines; only those of the given names, unless there is none.
func appendFields(b []byte, number uint64, fields []sdk.Field, names []string) []byte {
	for i := range fields {
		f := &fields[i]
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return sdk.EqualFold(n, f.Name) }) {
			b = appendField(b, number, f.Name, f.Value)
		}
	}
	return b
}

func appendField[T string | []byte](b []byte, number uint64, name string, value T) []byte {
	name = valid(name)
	b = appendKey(b, number, length)
	b = appendVarint(b, uint64(2+sizeBytes(len(name))+sizeBytes(len(value))))
	b = appendBytes(b, 1, name)
	return appendBytes(b, 2, value)
}

func appendResponse(b []byte, number uint64, r *sdk.Response, needs sdk.Needs) []byte {
	body := needs.Has(sdk.NeedResponseBody) && r.Buffered()
	guess := 300
	if body {
		guess += len(r.Body())
	}
	b, at := open(b, number, guess)
	b = appendUint(b, 1, uint64(r.Status()))
	if needs.Has(sdk.NeedResponseHeaders) {
		b = appendFields(b, 2, r.Header().Fields(), nil)
	}
	if body {
		b = appendBytes(b, 3, r.Body())
	} else {
		b = appendSint(b, 4, r.Length())
	}
	return shut(b, at)
}

func appendContext(b []byte, x *sdk.Exchange, needs sdk.Needs) []byte {
	if needs.Has(sdk.NeedValues) {
		for _, v := range x.Values() {
			if v.Data != nil {
				b = appendField(b, 18, v.Name, v.Data)
			}
		}
	}
	if needs.Has(sdk.NeedTrace) {
		b = appendText(b, 19, x.Trace().Parent)
		b = appendText(b, 20, x.Trace().State)
	}
	if needs.Has(sdk.NeedPeer) {
		for _, c := range x.PeerCertificates() {
			b = appendBytes(b, 21, c.Raw)
		}
	}
	return b
}

// Union is what a group of hooks needs of which one needs a and another b.
func Union(a, b sdk.Needs) sdk.Needs {
	u := sdk.Needs{Fields: explicit(a.Fields) | explicit(b.Fields), BodyLimit: max(a.BodyLimit, b.BodyLimit)}
	ah, bh := a.Has(sdk.NeedHeaders), b.Has(sdk.NeedHeaders)
	switch {
	case ah && len(a.HeaderNames) == 0, bh && len(b.HeaderNames) == 0:
	case ah && bh:
		u.HeaderNames = slices.Clone(a.HeaderNames)
		for _, n := range b.HeaderNames {
			if !slices.ContainsFunc(u.HeaderNames, func(m string) bool { return strings.EqualFold(m, n) }) {
				u.HeaderNames = append(u.HeaderNames, n)
			}
		}
	case ah:
		u.HeaderNames = a.HeaderNames
	case bh:
		u.HeaderNames = b.HeaderNames
	}
	return u
}

func explicit(n sdk.Need) sdk.Need {
	if n == 0 {
		return sdk.NeedDefault
	}
	return n
}
