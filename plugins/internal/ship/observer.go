package ship

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Observer writes records and events as the settings have them and puts them into a shipper. It implements [sdk.Observer].
type Observer struct {
	to       *Shipper
	encoder  *record.Encoder
	key      *record.Template
	requests int // records of at least that status
	events   bool
	perItem  atomic.Int64 // bytes that items took lately
	needs    sdk.RecordNeeds
}

var _ sdk.RecordNeeder = (*Observer)(nil)

// RecordNeeds implements [sdk.RecordNeeder].
func (o *Observer) RecordNeeds() sdk.RecordNeeds { return o.needs }

// NewObserver makes an observer whose items have the key that the template says; nil: none. The shipper's settings are the
// observer's.
func NewObserver(to *Shipper, key *record.Template) (*Observer, error) {
	c := &to.o.Settings.Send
	encoder, err := c.encoder()
	if err != nil {
		return nil, err
	}
	o := &Observer{to: to, encoder: encoder, key: key, events: c.Events == "all", needs: c.needs()}
	switch c.Requests {
	case "errors":
		o.requests = 400
	case "none":
		o.requests = 1 << 30
	}
	return o, nil
}

// Plugin starts a shipper of o and makes the plugin of its one observer, Ship, whose items have the key that the template
// says; nil: none. The plugin has the name of o.
func Plugin(ctx context.Context, version string, o Options, key *record.Template) (*sdk.Plugin, error) {
	shipper := New(ctx, o)
	observer, err := NewObserver(shipper, key)
	if err != nil {
		return nil, errors.Join(err, shipper.Close())
	}
	return &sdk.Plugin{
		Name: o.Name, Version: version,
		Observers: []sdk.ObserverSpec{{Name: "Ship", Observer: observer}},
		Close:     shipper.Close, Stats: shipper.Stats,
	}, nil
}

// Observe implements [sdk.Observer]. It does not wait for the sink, and has no errors: what is lost is counted. It is safe
// for concurrent use.
func (o *Observer) Observe(_ context.Context, b sdk.Batch) error {
	items := make([]Item, 0, len(b.Records)+len(b.Events))
	const first, most, spare = 768, 2048, 64
	per := int(o.perItem.Load())
	if per == 0 {
		per = first
	}
	buf := make([]byte, 0, cap(items)*(min(per, most)+spare))
	for i := range b.Records {
		if r := &b.Records[i]; r.Status >= o.requests {
			var item Item
			if o.key != nil {
				buf, item.Key = cut(o.key.AppendRecord(buf, r), len(buf))
			}
			buf, item.Body = cut(o.encoder.AppendRecord(buf, r), len(buf))
			items = append(items, item)
		}
	}
	for i := range b.Events {
		if e := &b.Events[i]; o.events {
			var item Item
			if o.key != nil {
				buf, item.Key = cut(o.key.AppendEvent(buf, e), len(buf))
			}
			buf, item.Body = cut(o.encoder.AppendEvent(buf, e), len(buf))
			items = append(items, item)
		}
	}
	if len(items) > 0 {
		size := 0
		for i := range items {
			size += items[i].Size()
		}
		o.perItem.Store(int64(size / len(items)))
		o.to.PutAll(items)
	}
	return nil
}

// cut returns what was appended to the first n bytes, so that appending to it touches nothing else.
func cut(b []byte, n int) (all, appended []byte) { return b, b[n:len(b):len(b)] }
