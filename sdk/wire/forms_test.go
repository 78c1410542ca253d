package wire

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// missing lists the fields of m that are not set.
func missing(m protoreflect.Message) (names []protoreflect.Name) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); !m.Has(f) {
			names = append(names, f.FullName().Name())
		}
	}
	return names
}

// forms returns other encodings of the same message, as other implementations may write them: fields in another order,
// unknown fields between them, singular fields repeated with only the last counting, messages in two pieces, lists
// unpacked, lengths and numbers longer than they need be.
func forms(t *testing.T, b []byte, d protoreflect.MessageDescriptor) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"as it is": b, "reordered": reform(t, b, d, form{reorder: true}), "unknown fields": reform(t, b, d, form{unknown: true}),
		"repeated": reform(t, b, d, form{repeat: true}), "in pieces": reform(t, b, d, form{pieces: true}),
		"long numbers": reform(t, b, d, form{long: true}),
		"everything":   reform(t, b, d, form{true, true, true, true, true}),
	}
}

type form struct{ reorder, unknown, repeat, pieces, long bool }

// bogus are fields no message has, one of each wire type, and known numbers with a type they never have.
func bogus() []byte {
	var b []byte
	b = protowire.AppendVarint(protowire.AppendTag(b, 14999, protowire.VarintType), 1<<63)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 15000, protowire.Fixed64Type), 1)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 15001, protowire.Fixed32Type), 1)
	b = protowire.AppendBytes(protowire.AppendTag(b, 15002, protowire.BytesType), []byte{0xff})
	b = protowire.AppendTag(b, 15003, protowire.StartGroupType)
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
	b = protowire.AppendTag(b, 15003, protowire.EndGroupType)
	return protowire.AppendFixed32(protowire.AppendTag(b, 1, protowire.Fixed32Type), 1)
}

func longVarint(b []byte, v uint64, long bool) []byte {
	b = protowire.AppendVarint(b, v)
	if long && protowire.SizeVarint(v) < 9 {
		b[len(b)-1] |= 0x80
		b = append(b, 0)
	}
	return b
}

func reform(t *testing.T, b []byte, d protoreflect.MessageDescriptor, f form) []byte {
	t.Helper()
	byNumber := map[protowire.Number][][]byte{}
	var order []protowire.Number
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		m := protowire.ConsumeFieldValue(num, typ, b[max(n, 0):])
		if n < 0 || m < 0 {
			t.Fatalf("%s is malformed", d.FullName())
		}
		field := reformField(t, d.Fields().ByNumber(num), num, typ, b[n:n+m], f)
		if !slices.Contains(order, num) {
			order = append(order, num)
		}
		byNumber[num] = append(byNumber[num], field)
		b = b[n+m:]
	}
	if f.reorder {
		slices.Reverse(order)
	}
	var out []byte
	if f.unknown {
		out = bogus()
	}
	for _, num := range order {
		out = append(out, bytes.Join(byNumber[num], nil)...)
		if f.unknown {
			out = append(out, bogus()...)
		}
	}
	return out
}

func reformField(t *testing.T, fd protoreflect.FieldDescriptor, num protowire.Number, typ protowire.Type, v []byte, f form) []byte {
	t.Helper()
	key := longVarint(nil, uint64(num)<<3|uint64(typ), f.long && num > 15)
	with := func(v []byte) []byte { return append(slices.Clone(key), v...) }
	switch {
	case typ == protowire.VarintType:
		n, _ := protowire.ConsumeVarint(v)
		out := with(longVarint(nil, n, f.long))
		if f.repeat && fd.Cardinality() != protoreflect.Repeated {
			out = append(with([]byte{1}), out...)
		}
		return out
	case typ != protowire.BytesType:
		return with(v)
	}
	content, _ := protowire.ConsumeBytes(v)
	wrap := func(content []byte) []byte {
		return append(with(longVarint(nil, uint64(len(content)), f.long)), content...)
	}
	switch {
	case fd.Kind() == protoreflect.DoubleKind && f.pieces: // unpack
		var out []byte
		for ; len(content) > 0; content = content[8:] {
			out = append(protowire.AppendTag(out, num, protowire.Fixed64Type), content[:8]...)
		}
		return out
	case fd.Kind() == protoreflect.MessageKind:
		content = reform(t, content, fd.Message(), f)
		if f.pieces && fd.Cardinality() != protoreflect.Repeated && len(content) > 0 {
			_, _, n := protowire.ConsumeField(content)
			return append(append(wrap(content[:n]), wrap(nil)...), wrap(content[n:])...)
		}
		return wrap(content)
	case f.repeat && fd.Cardinality() != protoreflect.Repeated:
		return append(wrap([]byte("no")), wrap(content)...)
	}
	return wrap(content)
}
