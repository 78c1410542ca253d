package wire

import "github.com/turnbuckle-gateway/turnbuckle/sdk"

// Limits bound what the host sends on one stream; 0 is no wish.
type Limits struct {
	Window     uint32 // unacknowledged host frames
	FrameBytes uint32
	FrameCalls uint32
}

// maxRecordNames bounds the names of header fields that an observer wants.
const maxRecordNames = 256

// Description is what a server says of itself.
type Description struct {
	Name, Version string
	Minor         uint32 // highest minor version of the protocol the server knows
	Hooks         []HookInfo
	Observers     []string
	ObserverNeeds map[string]sdk.RecordNeeds // of those that have any
	ConfigSchema  []byte                     // JSON Schema; nil: anything
	Limits        Limits
}

// HookInfo is one hook of a [Description].
type HookInfo struct {
	Name  string
	Phase sdk.Phase // sdk.PhaseUnknown: any
	Needs sdk.Needs
}

// Find returns the hook of that name and phase.
func (d *Description) Find(name string, phase sdk.Phase) (*HookInfo, bool) {
	for i := range d.Hooks {
		if h := &d.Hooks[i]; h.Name == name && (h.Phase == phase || h.Phase == sdk.PhaseUnknown) {
			return h, true
		}
	}
	return nil, false
}

// AppendDescribeRequest appends a DescribeRequest; host is the asker's name and version.
func AppendDescribeRequest(b []byte, host string) []byte {
	return appendUint(appendText(b, 1, host), 2, Minor)
}

// DecodeDescribeRequest returns who asks and the highest minor version it knows.
func DecodeDescribeRequest(b []byte) (host string, minor uint32, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			host = string(c.val())
		case 2<<3 | varint:
			minor = uint32(c.num)
		}
	}
	if c.err != nil {
		return "", 0, garbage("describe request", c.err)
	}
	return host, minor, nil
}

// AppendDescribeReply appends a DescribeReply that describes p.
func AppendDescribeReply(b []byte, p *sdk.Plugin, limits Limits) []byte {
	b = appendText(b, 1, p.Name)
	b = appendText(b, 2, p.Version)
	b = appendUint(b, 3, Minor)
	for i := range p.Hooks {
		h := &p.Hooks[i]
		var at mark
		b, at = open(b, 4, 64)
		b = appendText(b, 1, h.Name)
		b = appendUint(b, 2, uint64(h.Phase))
		if n := h.Needs; n.Fields != 0 || len(n.HeaderNames) > 0 || n.BodyLimit != 0 {
			var in mark
			b, in = open(b, 3, 32)
			b = appendUint(b, 1, uint64(n.Fields))
			b = appendTexts(b, 2, n.HeaderNames)
			b = shut(appendInt(b, 3, n.BodyLimit), in)
		}
		b = shut(b, at)
	}
	for i := range p.Observers {
		b = appendText(b, 5, p.Observers[i].Name)
	}
	b = appendSome(b, 6, []byte(p.ConfigSchema))
	for i := range p.Observers {
		b = appendObserverNeeds(b, &p.Observers[i])
	}
	if limits != (Limits{}) {
		var at mark
		b, at = open(b, 7, 16)
		b = appendUint(b, 1, uint64(limits.Window))
		b = appendUint(b, 2, uint64(limits.FrameBytes))
		b = shut(appendUint(b, 3, uint64(limits.FrameCalls)), at)
	}
	return b
}

func appendObserverNeeds(b []byte, o *sdk.ObserverSpec) []byte {
	needer, ok := o.Observer.(sdk.RecordNeeder)
	if !ok {
		return b
	}
	needs := needer.RecordNeeds()
	if needs.None() {
		return b
	}
	b, at := open(b, 8, 64)
	b = appendText(b, 1, o.Name)
	b = appendTexts(b, 2, needs.Header)
	return shut(appendTexts(b, 3, needs.ReplyHeader), at)
}

// DecodeDescribeReply reads a DescribeReply. It copies everything.
func DecodeDescribeReply(b []byte) (*Description, error) {
	d := &Description{}
	if err := d.decode(b); err != nil {
		return nil, garbage("describe reply", err)
	}
	return d, nil
}

func (d *Description) decode(b []byte) error {
	var limits part
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			d.Name = string(c.val())
		case 2<<3 | length:
			d.Version = string(c.val())
		case 3<<3 | varint:
			d.Minor = uint32(c.num)
		case 4<<3 | length:
			h, err := decodeHookInfo(c.val())
			if err != nil {
				return err
			}
			d.Hooks = append(d.Hooks, h)
		case 5<<3 | length:
			d.Observers = append(d.Observers, string(c.val()))
		case 6<<3 | length:
			d.ConfigSchema = kept(c.val())
		case 7<<3 | length:
			limits.merge(c.val())
		case 8<<3 | length:
			if err := d.observerNeeds(c.val()); err != nil {
				return err
			}
		}
		if len(d.Hooks)+len(d.Observers) > MaxItems {
			return errTooMany
		}
	}
	l := cursor{msg: limits.b, err: c.err}
	for l.next() {
		switch l.key {
		case 1<<3 | varint:
			d.Limits.Window = uint32(l.num)
		case 2<<3 | varint:
			d.Limits.FrameBytes = uint32(l.num)
		case 3<<3 | varint:
			d.Limits.FrameCalls = uint32(l.num)
		}
	}
	return l.err
}

func (d *Description) observerNeeds(b []byte) error {
	var name string
	var needs sdk.RecordNeeds
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			name = string(c.val())
		case 2<<3 | length:
			needs.Header = append(needs.Header, string(c.val()))
		case 3<<3 | length:
			needs.ReplyHeader = append(needs.ReplyHeader, string(c.val()))
		}
		if len(needs.Header)+len(needs.ReplyHeader) > maxRecordNames {
			return errTooMany
		}
	}
	if d.ObserverNeeds == nil {
		d.ObserverNeeds = map[string]sdk.RecordNeeds{}
	}
	if d.ObserverNeeds[name] = needs; len(d.ObserverNeeds) > MaxItems {
		return errTooMany
	}
	return c.err
}

func decodeHookInfo(b []byte) (h HookInfo, err error) {
	var needs part
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			h.Name = string(c.val())
		case 2<<3 | varint:
			h.Phase = phaseOf(c.num)
		case 3<<3 | length:
			needs.merge(c.val())
		}
	}
	n := cursor{msg: needs.b, err: c.err}
	for n.next() {
		switch n.key {
		case 1<<3 | varint:
			h.Needs.Fields = sdk.Need(n.num)
		case 2<<3 | length:
			if h.Needs.HeaderNames = append(h.Needs.HeaderNames, string(n.val())); len(h.Needs.HeaderNames) > MaxItems {
				return h, errTooMany
			}
		case 3<<3 | varint:
			h.Needs.BodyLimit = int64(min(n.num, 1<<62))
		}
	}
	return h, n.err
}
