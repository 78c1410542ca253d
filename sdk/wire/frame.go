package wire

import (
	"iter"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A HostFrame is written field by field: AppendSeq first, then bindings, calls, cancels and the rest in any order; each
// Append function appends one complete field. A PluginFrame likewise: AppendAck, AppendCredit, replies.

// AppendSeq appends the number of a HostFrame: 1, 2, 3, … per stream.
func AppendSeq(b []byte, seq uint64) []byte { return appendUint(b, 1, seq) }

// AppendCancel appends the id of a call nobody waits for any more to a HostFrame.
func AppendCancel(b []byte, id uint64) []byte {
	return appendVarint(appendKey(b, 4, varint), id)
}

// AppendHostDrain says in a HostFrame that no more calls will come.
func AppendHostDrain(b []byte) []byte { return appendBool(b, 5, true) }

// AppendDropped says in a HostFrame how many records and events were dropped since the last ones.
func AppendDropped(b []byte, n uint64) []byte { return appendUint(b, 8, n) }

// AppendObserver names in a HostFrame an observer that its records and events are for; without any, all.
func AppendObserver(b []byte, name string) []byte { return appendBytes(b, 9, valid(name)) }

// AppendAck appends to a PluginFrame the highest number of a HostFrame that was taken; nothing when 0.
func AppendAck(b []byte, seq uint64) []byte { return appendUint(b, 1, seq) }

// AppendCredit appends to a PluginFrame how many calls the host may have outstanding on the stream.
func AppendCredit(b []byte, calls uint32) []byte { return appendUint(b, 2, uint64(calls)) }

// AppendPluginDrain asks the host in a PluginFrame to send no more calls on the stream.
func AppendPluginDrain(b []byte) []byte { return appendBool(b, 4, true) }

// HostFrame is a frame from the host as its server reads it. It aliases the bytes it was scanned from.
type HostFrame struct {
	Seq     uint64
	Drain   bool
	Dropped uint64
	Batched bool // the frame has records, events or a number of dropped ones
	raw     []byte
}

// ScanHostFrame walks the fields of b once and reports a malformed frame; what is inside bindings, calls, records and
// events is found out by their decoders.
func ScanHostFrame(b []byte) (HostFrame, error) {
	f := HostFrame{raw: b}
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			f.Seq = c.num
		case 5<<3 | varint:
			f.Drain = c.num != 0
		case 6<<3 | length, 7<<3 | length:
			f.Batched = true
		case 8<<3 | varint:
			f.Dropped = c.num
		}
	}
	if c.err != nil {
		return HostFrame{}, garbage("host frame", c.err)
	}
	f.Batched = f.Batched || f.Dropped > 0
	return f, nil
}

// Bindings iterates over the frame's bindings, for [DecodeBinding]. A server takes them before the frame's calls,
// whatever the order of the fields.
func (f HostFrame) Bindings() iter.Seq[[]byte] { return each(f.raw, 2) }

// Calls iterates over the frame's calls, for [ScanCall] and [Incoming.Decode].
func (f HostFrame) Calls() iter.Seq[[]byte] { return each(f.raw, 3) }

// Cancels iterates over the ids of calls nobody waits for any more. A server takes them after the frame's calls.
func (f HostFrame) Cancels() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for c := (cursor{msg: f.raw}); c.next(); {
			switch c.key {
			case 4<<3 | varint:
				if !yield(c.num) {
					return
				}
			case 4<<3 | length: // packed
				for v := (cursor{msg: c.val()}); v.uvarint(); {
					if !yield(v.num) {
						return
					}
				}
			}
		}
	}
}

// Observers lists the observers that the frame's records and events are for; none: all.
func (f HostFrame) Observers() []string {
	var names []string
	for v := range each(f.raw, 9) {
		if len(names) < MaxItems {
			names = append(names, string(v))
		}
	}
	return names
}

// Batch decodes the frame's records and events. It copies everything.
func (f HostFrame) Batch() (sdk.Batch, error) {
	batch := sdk.Batch{Dropped: f.Dropped}
	for v := range each(f.raw, 6) {
		r, err := decodeRecord(v)
		if err == nil && len(batch.Records) == MaxItems {
			err = errTooMany
		}
		if err != nil {
			return sdk.Batch{}, garbage("record", err)
		}
		batch.Records = append(batch.Records, r)
	}
	for v := range each(f.raw, 7) {
		e, err := decodeEvent(v)
		if err == nil && len(batch.Events) == MaxItems {
			err = errTooMany
		}
		if err != nil {
			return sdk.Batch{}, garbage("event", err)
		}
		batch.Events = append(batch.Events, e)
	}
	return batch, nil
}

// PluginFrame is a frame from a plugin server as the host reads it. It aliases the bytes it was scanned from.
type PluginFrame struct {
	Ack    uint64 // highest number of a host frame that was taken; 0: none
	Credit uint32 // calls that may be outstanding; 0: as before
	Drain  bool
	raw    []byte
}

// ScanPluginFrame walks the fields of b once and reports a malformed frame; what is inside a reply is found out by
// [ApplyReply].
func ScanPluginFrame(b []byte) (PluginFrame, error) {
	f := PluginFrame{raw: b}
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			f.Ack = c.num
		case 2<<3 | varint:
			f.Credit = uint32(min(c.num, 1<<32-1))
		case 4<<3 | varint:
			f.Drain = c.num != 0
		}
	}
	if c.err != nil {
		return PluginFrame{}, garbage("plugin frame", c.err)
	}
	return f, nil
}

// Replies iterates over the frame's replies: the id of the call and the reply's bytes, for [ApplyReply]. A reply so
// broken that its id cannot be read has id 0, which no call has. The bytes alias the frame.
func (f PluginFrame) Replies() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for c := (cursor{msg: f.raw}); c.next(); {
			if c.key == 3<<3|length && !yield(firstID(c.val()), c.val()) {
				return
			}
		}
	}
}

// firstID finds the id of a reply. Field 1 usually comes first; of several the last counts.
func firstID(b []byte) (id uint64) {
	for c := (cursor{msg: b}); c.next(); {
		if c.key == 1<<3|varint {
			id = c.num
		}
	}
	return id
}
