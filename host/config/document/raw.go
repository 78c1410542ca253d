package document

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
)

// JSON returns the node as compact JSON, keys in file order.
func (n *Node) JSON() (json.RawMessage, Problems) {
	var d Decoder
	var b bytes.Buffer
	d.encode(n, &b)
	return b.Bytes(), d.Problems
}

func (d *Decoder) raw(n *Node, target *json.RawMessage) {
	if n.Kind == Null {
		return
	}
	raw, problems := n.JSON()
	for _, p := range problems {
		d.Report(p)
	}
	*target = raw
}

func (d *Decoder) encode(n *Node, b *bytes.Buffer) {
	switch n.Kind {
	case Null:
		b.WriteString("null")
	case Bool:
		b.Write(bytes.ToLower([]byte(n.Text)))
	case Number:
		d.number(n, b)
	case String:
		quote(b, n.Text)
	case Sequence:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			d.encode(item, b)
		}
		b.WriteByte(']')
	case Mapping:
		b.WriteByte('{')
		for i, f := range n.Fields {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(b, f.Key)
			b.WriteByte(':')
			d.encode(f.Value, b)
		}
		b.WriteByte('}')
	}
}

// number writes what JSON accepts as it stands, and rewrites YAML's other notations.
func (d *Decoder) number(n *Node, b *bytes.Buffer) {
	if json.Valid([]byte(n.Text)) {
		b.WriteString(n.Text)
		return
	}
	if i, ok := new(big.Int).SetString(n.Text, 0); ok {
		b.WriteString(i.String())
		return
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.Errorf(n, "%s has no JSON form", n.Quote())
		b.WriteString("null")
		return
	}
	b.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
}

// quote writes a JSON string without the escapes that encoding/json adds for HTML.
func quote(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	// A string cannot fail to encode.
	_ = enc.Encode(s)
	b.Truncate(b.Len() - 1)
}
