package wire

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Incoming is one call on its server: what it asks for, the backing of its exchange while its hooks run, and what they
// did. A server calls Decode, then for each hook of the binding x.Begin(phase, config, true), the hook, and [Incoming.Done]
// until that says stop, then [Incoming.AppendReply]. Decode begins it anew, its memory is used again. It belongs to one
// call at a time and is not safe for concurrent use.
type Incoming struct {
	CallHeader
	Queued time.Duration // between the frame's arrival and the first hook; for the reply

	peer     [][]byte
	certs    []*x509.Certificate
	hook     uint32
	effects  effects
	outcomes []HookOutcome
	logs     []LogLine
	counters []Counter
	err      error
}

var _ sdk.Backing = (*Incoming)(nil)

// ScanCall reads the header of one of [HostFrame.Calls]. When the call is malformed, the id is 0 or what could be read
// of it, for a reply that says so.
func ScanCall(b []byte) (CallHeader, error) {
	var h CallHeader
	c := cursor{msg: b}
	for c.next() {
		h.field(&c)
	}
	if c.err != nil {
		return h, garbage("call", c.err)
	}
	return h, nil
}

// field takes one field of a call, if it is the header's.
func (h *CallHeader) field(c *cursor) bool {
	switch c.key {
	case 1<<3 | varint:
		h.ID = c.num
	case 2<<3 | varint:
		h.Binding = uint32(c.num)
	case 3<<3 | varint:
		h.Timeout = micros(c.num)
	default:
		return false
	}
	return true
}

// maxTimeout is what a timeout is cut to: one day.
const maxTimeout = 24 * time.Hour

// Decode begins in and x anew from the bytes of a call of that binding. On an error both are untouched. Strings are copied;
// bodies, values and certificates alias b, which must stay as it is until the reply has been appended.
func (in *Incoming) Decode(b []byte, binding *Binding, x *sdk.Exchange) error {
	d := callDecoder{text: arena{size: min(len(b), 4096)}}
	if err := d.scan(b); err != nil {
		return garbage("call", err)
	}
	in.reset(d.header)
	in.peer = append(in.peer, d.peer...)
	x.Reset(sdk.Init{Route: binding.Route, Client: d.client, RequestID: d.id, Trace: d.trace, Backing: in})
	d.fill(b, x)
	return nil
}

func (in *Incoming) reset(h CallHeader) {
	clear(in.peer)
	*in = Incoming{
		CallHeader: h, peer: in.peer[:0], outcomes: in.outcomes[:0], logs: in.logs[:0], counters: in.counters[:0],
		effects: in.effects.reset(),
	}
}

type callDecoder struct {
	header   CallHeader
	text     arena
	init     sdk.RequestInit
	client   netip.AddrPort
	id       string
	trace    sdk.Trace
	body     []byte
	hasBody  bool
	hasURI   bool
	response part
	session  part
	decoded  *sdk.Session
	peer     [][]byte
	fields   int
	values   int
}

// scan reads everything but lists, and checks those.
func (d *callDecoder) scan(b []byte) error {
	c := cursor{msg: b}
	for c.next() {
		if d.request(&c) || d.header.field(&c) {
			continue
		}
		var err error
		switch c.key {
		case 13<<3 | length:
			d.fields++
			err = wellFormed(c.val())
		case 16<<3 | length:
			d.response.merge(c.val())
		case 17<<3 | length:
			d.session.merge(c.val())
		case 18<<3 | length:
			d.values++
			err = wellFormed(c.val())
		case 21<<3 | length:
			d.peer = append(d.peer, c.val())
		}
		if err == nil && (d.fields > MaxFields || d.values+len(d.peer) > MaxItems) {
			err = errTooMany
		}
		if err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	if !d.hasURI {
		d.init.URI = d.init.Path
		if d.init.Query != "" {
			d.init.URI += "?" + d.init.Query
		}
	}
	return d.parts()
}

func (d *callDecoder) request(c *cursor) bool {
	switch c.key {
	case 4<<3 | length:
		d.init.Method = d.text.str(c.val())
	case 5<<3 | length:
		d.init.Path = d.text.str(c.val())
	case 6<<3 | length:
		d.init.Query = d.text.str(c.val())
	case 7<<3 | length:
		d.init.URI, d.hasURI = d.text.str(c.val()), true
	case 8<<3 | length:
		d.init.Scheme = d.text.str(c.val())
	case 9<<3 | length:
		d.init.Host = d.text.str(c.val())
	case 10<<3 | length:
		d.init.Proto = d.text.str(c.val())
	case 11<<3 | length:
		d.id = d.text.str(c.val())
	case 12<<3 | length:
		d.client = parseAddress(c.val())
	case 14<<3 | length:
		d.body, d.hasBody = c.val(), true
	case 15<<3 | varint:
		d.init.Length = protowire.DecodeZigZag(c.num)
	case 19<<3 | length:
		d.trace.Parent = d.text.str(c.val())
	case 20<<3 | length:
		d.trace.State = d.text.str(c.val())
	default:
		return false
	}
	return true
}

func (d *callDecoder) parts() (err error) {
	if d.session.set {
		if d.decoded, err = decodeSession(d.session.b); err != nil {
			return err
		}
	}
	_, err = scanResponse(d.response.b)
	return err
}

// fill hands over what scan has checked.
func (d *callDecoder) fill(b []byte, x *sdk.Exchange) {
	x.Request().Fill(d.init)
	if d.hasBody {
		x.Request().LoadBody(d.body)
	}
	for c := (cursor{msg: b}); d.fields+d.values > 0 && c.next(); {
		switch c.key {
		case 13<<3 | length:
			name, value, _ := entry(c.val())
			x.Request().Header().Append(d.text.str(name), d.text.str(value))
		case 18<<3 | length:
			if name, data, has := valueOf(c.val()); has {
				x.BeginValue(d.text.str(name), data)
			}
		}
	}
	if d.response.set {
		v, _ := scanResponse(d.response.b)
		x.Response().Fill(int(v.status), v.length)
		v.each(func(name, value []byte) { x.Response().Header().Append(d.text.str(name), d.text.str(value)) })
		if v.hasBody {
			x.Response().LoadBody(v.body)
		}
	}
	if d.decoded != nil {
		x.BeginSession(d.decoded)
	}
}

// valueOf reads a Value; data aliases it and is never nil when there is some.
func valueOf(b []byte) (name, data []byte, has bool) {
	for c := (cursor{msg: b}); c.next(); {
		switch c.key {
		case 1<<3 | length:
			name = c.val()
		case 2<<3 | length:
			data, has = c.val(), true
		}
	}
	return name, data, has
}

// responseView is a Response that has been found well-formed.
type responseView struct {
	status  int32
	length  int64
	body    []byte
	hasBody bool
	fields  int
	raw     []byte
}

func scanResponse(b []byte) (responseView, error) {
	v := responseView{raw: b}
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			v.status = int32(c.num)
		case 2<<3 | length:
			if v.fields++; v.fields > MaxFields {
				return v, errTooMany
			}
			if err := wellFormed(c.val()); err != nil {
				return v, err
			}
		case 3<<3 | length:
			v.body, v.hasBody = c.val(), true
		case 4<<3 | varint:
			v.length = protowire.DecodeZigZag(c.num)
		}
	}
	return v, c.err
}

func (v *responseView) each(yield func(name, value []byte)) {
	for c := (cursor{msg: v.raw}); c.next(); {
		if c.key == 2<<3|length {
			name, value, _ := entry(c.val())
			yield(name, value)
		}
	}
}

// PeerCertificates parses what the call carried of the client's chain; nil when it cannot be parsed.
func (in *Incoming) PeerCertificates() []*x509.Certificate {
	if in.certs == nil && len(in.peer) > 0 {
		var certs []*x509.Certificate
		for _, der := range in.peer {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return nil
			}
			certs = append(certs, c)
		}
		in.certs = certs
	}
	return in.certs
}

// Log takes a line of the running hook into the reply; lines over [MaxNotes] are ignored.
func (in *Incoming) Log(level slog.Level, message string) {
	if len(in.logs) < MaxNotes {
		in.logs = append(in.logs, LogLine{in.hook, level, clip(message)})
	}
}

// Count takes a counter of the running hook into the reply; counts of one name are added up.
func (in *Incoming) Count(name string, delta int64) {
	for i := range in.counters {
		if c := &in.counters[i]; c.Hook == in.hook && c.Name == name {
			c.Delta += delta
			return
		}
	}
	if len(in.counters) < MaxNotes {
		in.counters = append(in.counters, Counter{in.hook, name, delta})
	}
}

func clip(s string) string {
	if len(s) > MaxLogBytes {
		return s[:MaxLogBytes]
	}
	return s
}
