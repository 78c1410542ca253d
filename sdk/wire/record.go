package wire

import (
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// AppendRecord appends r as a field of a HostFrame.
func AppendRecord(b []byte, r *sdk.Record) []byte {
	b, at := open(b, 6, 500)
	b = appendTime(b, 1, r.Time)
	b = appendInt(b, 2, int64(r.Duration))
	b = appendInt(b, 3, int64(r.Upstream))
	b = appendText(b, 4, r.RequestID)
	b = appendText(b, 5, r.Trace.Parent)
	b = appendText(b, 6, r.Trace.State)
	b = appendText(b, 7, r.Route)
	b = appendText(b, 8, r.RouteName)
	b = appendText(b, 9, r.Org)
	b = appendAddress(b, 10, r.Client)
	b = appendSome(b, 11, r.Method)
	b = appendSome(b, 12, r.Scheme)
	b = appendSome(b, 13, r.Host)
	b = appendSome(b, 14, r.Path)
	b = appendSome(b, 15, r.Query)
	b = appendSome(b, 16, r.Proto)
	b = appendSome(b, 17, r.UserAgent)
	b = appendInt(b, 18, int64(r.Status))
	b = appendInt(b, 19, r.RequestSize)
	b = appendInt(b, 20, r.ReplySize)
	b = appendText(b, 21, r.Target)
	b = appendText(b, 22, r.AnsweredBy)
	b = appendText(b, 23, r.Alias)
	b = appendText(b, 24, r.KeyHash)
	b = appendTexts(b, 25, r.Tags)
	b = appendText(b, 26, r.Error)
	for i := range r.Hooks {
		b = appendHookRecord(b, &r.Hooks[i])
	}
	b = appendFields(b, 28, r.Header, nil)
	b = appendFields(b, 29, r.ReplyHeader, nil)
	if r.HeaderCut {
		b = appendUint(b, 30, 1)
	}
	return shut(b, at)
}

func appendHookRecord(b []byte, h *sdk.HookRecord) []byte {
	b, at := open(b, 27, 64)
	b = appendText(b, 1, h.Name)
	b = appendText(b, 2, h.Server)
	b = appendUint(b, 3, uint64(h.Phase))
	b = appendUint(b, 4, uint64(h.Outcome))
	b = appendUint(b, 5, uint64(h.Changed))
	b = appendInt(b, 6, int64(h.Duration))
	b = appendText(b, 7, h.Error)
	return shut(b, at)
}

// AppendEvent appends e as a field of a HostFrame.
func AppendEvent(b []byte, e *sdk.Event) []byte {
	b, at := open(b, 7, 200)
	b = appendTime(b, 1, e.Time)
	b = appendText(b, 2, e.Type)
	b = appendText(b, 3, e.Route)
	b = appendText(b, 4, e.Org)
	b = appendText(b, 5, e.RequestID)
	b = appendText(b, 6, e.Message)
	for k, v := range e.Meta {
		b = appendEntry(b, 7, k, v)
	}
	return shut(b, at)
}

func appendTime(b []byte, number uint64, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendInt(b, number, t.UnixNano())
}

func timeOf(nanos uint64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(nanos))
}

func decodeRecord(b []byte) (r sdk.Record, err error) {
	text := arena{size: len(b)}
	c := cursor{msg: b}
	for c.next() {
		if recordNumber(&r, &c) {
			continue
		}
		if s := recordText(&r, c.key); s != nil {
			*s = text.str(c.val())
			continue
		}
		switch c.key {
		case 10<<3 | length:
			r.Client = parseAddress(c.val())
		case 25<<3 | length:
			r.Tags = append(r.Tags, text.str(c.val()))
		case 27<<3 | length:
			h, err := decodeHookRecord(c.val(), &text)
			if err != nil {
				return r, err
			}
			r.Hooks = append(r.Hooks, h)
		case 28<<3 | length, 29<<3 | length:
			to := &r.Header
			if c.key == 29<<3|length {
				to = &r.ReplyHeader
			}
			name, value, err := entry(c.val())
			if err != nil {
				return r, err
			}
			*to = append(*to, sdk.Field{Name: text.str(name), Value: text.str(value)})
		}
		if len(r.Tags)+len(r.Hooks)+len(r.Header)+len(r.ReplyHeader) > MaxItems {
			return r, errTooMany
		}
	}
	return r, c.err
}

func recordNumber(r *sdk.Record, c *cursor) bool {
	switch c.key {
	case 1<<3 | varint:
		r.Time = timeOf(c.num)
	case 2<<3 | varint:
		r.Duration = time.Duration(c.num)
	case 3<<3 | varint:
		r.Upstream = time.Duration(c.num)
	case 18<<3 | varint:
		r.Status = int(int32(c.num))
	case 19<<3 | varint:
		r.RequestSize = int64(c.num)
	case 20<<3 | varint:
		r.ReplySize = int64(c.num)
	case 30<<3 | varint:
		r.HeaderCut = c.num != 0
	default:
		return false
	}
	return true
}

// recordText is where in r a string field goes.
func recordText(r *sdk.Record, key uint64) *string {
	switch key {
	case 4<<3 | length:
		return &r.RequestID
	case 5<<3 | length:
		return &r.Trace.Parent
	case 6<<3 | length:
		return &r.Trace.State
	case 7<<3 | length:
		return &r.Route
	case 8<<3 | length:
		return &r.RouteName
	case 9<<3 | length:
		return &r.Org
	case 11<<3 | length:
		return &r.Method
	case 12<<3 | length:
		return &r.Scheme
	case 13<<3 | length:
		return &r.Host
	case 14<<3 | length:
		return &r.Path
	case 15<<3 | length:
		return &r.Query
	case 16<<3 | length:
		return &r.Proto
	case 17<<3 | length:
		return &r.UserAgent
	case 21<<3 | length:
		return &r.Target
	case 22<<3 | length:
		return &r.AnsweredBy
	case 23<<3 | length:
		return &r.Alias
	case 24<<3 | length:
		return &r.KeyHash
	case 26<<3 | length:
		return &r.Error
	}
	return nil
}

func decodeHookRecord(b []byte, text *arena) (h sdk.HookRecord, err error) {
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | length:
			h.Name = text.str(c.val())
		case 2<<3 | length:
			h.Server = text.str(c.val())
		case 3<<3 | varint:
			h.Phase = phaseOf(c.num)
		case 4<<3 | varint:
			h.Outcome = sdk.Outcome(min(c.num, uint64(sdk.Outcomes)))
		case 5<<3 | varint:
			h.Changed = sdk.Change(c.num)
		case 6<<3 | varint:
			h.Duration = time.Duration(c.num)
		case 7<<3 | length:
			h.Error = text.str(c.val())
		}
	}
	return h, c.err
}

func decodeEvent(b []byte) (e sdk.Event, err error) {
	text := arena{size: len(b)}
	c := cursor{msg: b}
	for c.next() {
		switch c.key {
		case 1<<3 | varint:
			e.Time = timeOf(c.num)
		case 2<<3 | length:
			e.Type = text.str(c.val())
		case 3<<3 | length:
			e.Route = text.str(c.val())
		case 4<<3 | length:
			e.Org = text.str(c.val())
		case 5<<3 | length:
			e.RequestID = text.str(c.val())
		case 6<<3 | length:
			e.Message = text.str(c.val())
		case 7<<3 | length:
			k, v, err := entry(c.val())
			if err != nil {
				return e, err
			}
			if e.Meta == nil {
				e.Meta = map[string]string{}
			}
			e.Meta[text.str(k)] = text.str(v)
			if len(e.Meta) > MaxItems {
				return e, errTooMany
			}
		}
	}
	return e, c.err
}
