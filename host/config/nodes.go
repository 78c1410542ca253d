package config

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// UnmarshalNode reads a mapping from header name to a value or a list of values.
func (h *Headers) UnmarshalNode(n *document.Node, d *document.Decoder) {
	switch n.Kind {
	case document.Null:
		return
	case document.Mapping:
	default:
		d.Errorf(n, "must be a mapping from header names to values, not %s", n.Kind)
		return
	}
	*h = nil
	for _, f := range n.Fields {
		values := []*document.Node{f.Value}
		if f.Value.Kind == document.Sequence {
			values = f.Value.Items
		}
		for _, v := range values {
			if v.Kind == document.Mapping || v.Kind == document.Sequence || v.Kind == document.Null {
				d.Errorf(v, "must be a header value, not %s", v.Kind)
				continue
			}
			*h = append(*h, Header{Name: f.Key, Value: v.Text})
		}
	}
}

// UnmarshalNode reads "none", "buffer", {buffer: SIZE} or, from places that have only strings,
// "buffer:SIZE".
func (b *BodyPolicy) UnmarshalNode(n *document.Node, d *document.Decoder) {
	const want = "must be none, buffer or {buffer: SIZE}"
	limit := n.Get("buffer")
	if n.Kind == document.Mapping && limit != nil && len(n.Fields) == 1 {
		b.limited(limit, limit.Text, d)
		return
	}
	size, limited := strings.CutPrefix(n.Text, "buffer:")
	switch {
	case n.Kind != document.String:
		d.Errorf(n, want+", not %s", n.Kind)
	case n.Loose && limited:
		b.limited(n, size, d)
	default:
		if err := oneOf(&b.Mode, []byte(n.Text), BodyNone, BodyBuffer); err != nil {
			d.Errorf(n, "%s: %s", n.Quote(), want)
		}
		b.Limit = 0
	}
}

// String writes what UnmarshalNode reads; nothing when nothing is said.
func (b BodyPolicy) String() string {
	if b.Mode == BodyBuffer && b.Limit > 0 {
		return "buffer:" + b.Limit.String()
	}
	return string(b.Mode)
}

func (b *BodyPolicy) limited(n *document.Node, text string, d *document.Decoder) {
	b.Mode = BodyBuffer
	err := b.Limit.UnmarshalText([]byte(text))
	switch {
	case n.Kind != document.String && n.Kind != document.Number:
		d.Errorf(n, "must be a size, not %s", n.Kind)
	case err != nil:
		d.Errorf(n, "%s: %s", n.Quote(), err)
	case b.Limit == 0:
		d.Errorf(n, "must be greater than 0")
	}
}

// UnmarshalNode reads "all" or a list of header names.
func (h *HeaderNeeds) UnmarshalNode(n *document.Node, d *document.Decoder) {
	if n.Kind == document.String && n.Text == "all" {
		*h = HeaderNeeds{All: true}
		return
	}
	if n.Kind != document.Sequence {
		d.Errorf(n, `must be "all" or a list of header names, not %s`, n.Kind)
		return
	}
	h.All = false
	d.Decode(n, &h.Names)
}

// SetDefaults gives a target the weight 1.
func (t *Target) SetDefaults() { t.Weight = 1 }

// SetDefaults gives a plugin server the defaults its fields promise.
func (p *PluginServer) SetDefaults() {
	p.Protocol = ServerAuto
	p.MaxRecv, p.MaxSend = DefaultMaxMessage, DefaultMaxMessage
	p.ConnectTimeout = DefaultConnectTimeout
	p.Start = DefaultStart()
}

// RefusedKey refuses what auth lists do not hold.
func (h *HookRef) RefusedKey(key string) (string, bool) {
	if key == "any" || key == "all" {
		return "groups stand under auth: " +
			"write `auth: {all: [...]}` or `auth: {any: [...]}` with `- hook: {hook: NAME}` in it", true
	}
	return "", false
}
