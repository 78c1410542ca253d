// Package webhook is the plugin that sends events, and samples of requests, to URLs. README.md beside it is its manual.
package webhook

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed plugin.yaml
var manifest string

// Manifest returns plugin.yaml, which describes the plugin.
func Manifest() string { return manifest }

// Check reports what is wrong with a configuration.
func Check(config json.RawMessage) error {
	if _, err := parseSettings(config); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

var _ sdk.Factory = New

// New makes the plugin. Its observer is Send.
func New(ctx context.Context, config json.RawMessage, h sdk.Host) (*sdk.Plugin, error) {
	s, err := parseSettings(config)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	o := &observer{log: h.Logger().With("plugin", "webhook")}
	for i := range s.Targets {
		if err := o.open(ctx, s, &s.Targets[i], h); err != nil {
			return nil, errors.Join(fmt.Errorf("webhook: targets[%d].%w", i, err), o.close())
		}
	}
	return &sdk.Plugin{
		Name: "webhook", Version: "1.0.0",
		Observers: []sdk.ObserverSpec{{Name: "Send", Observer: o}},
		Close:     o.close, Stats: o.stats,
	}, nil
}

// observer makes bodies of records and events, and gives them to the targets' shippers.
type observer struct {
	log   *slog.Logger
	to    []*ship.Shipper
	each  []*target
	needs sdk.RecordNeeds
}

func (o *observer) open(ctx context.Context, s *settings, t *target, h sdk.Host) error {
	letters := newDeadLetters(h.Dir, t.place(), *t.DeadLetter.Size)
	to, err := newSink(t, newGuard(s.allowed))
	if err != nil {
		return err
	}
	opts := ship.Options{Name: "webhook", Settings: t.ship, Sink: to, Host: h, Place: t.place()}
	opts.Rejected = func(items []ship.Item, why error) {
		if err := letters.write(items, why); err != nil {
			o.log.Error("dead letters cannot be written", "error", err.Error())
		}
	}
	if t.Requests.Sample > 0 {
		o.needs.Header = append(o.needs.Header, t.Requests.Headers...)
		o.needs.ReplyHeader = append(o.needs.ReplyHeader, t.Requests.ResponseHeaders...)
	}
	o.to, o.each = append(o.to, ship.New(ctx, opts)), append(o.each, t)
	return nil
}

func (o *observer) close() error {
	errs := make([]error, len(o.to))
	for i, s := range o.to {
		errs[i] = s.Close()
	}
	return errors.Join(errs...)
}

// stats adds up what the targets' shippers count; what is level is added, too, but for up, which is of the worst.
func (o *observer) stats() []sdk.Stat {
	var all []sdk.Stat
	for _, s := range o.to {
		for _, one := range s.Stats() {
			i := slices.IndexFunc(all, func(have sdk.Stat) bool { return have.Name == one.Name })
			switch {
			case i < 0:
				all = append(all, one)
			case one.Name == "up":
				all[i].Value = min(all[i].Value, one.Value)
			default:
				all[i].Value += one.Value
			}
		}
	}
	return all
}

// RecordNeeds implements [sdk.RecordNeeder]: what any of the targets wants.
func (o *observer) RecordNeeds() sdk.RecordNeeds { return o.needs }

// Observe implements [sdk.Observer]. It does not wait for targets.
func (o *observer) Observe(_ context.Context, b sdk.Batch) error {
	var errs []error
	for i, t := range o.each {
		var items []ship.Item
		add := func(encoded []byte) {
			item, err := t.item(encoded)
			if err != nil {
				errs = append(errs, fmt.Errorf("targets[%d]: %w", i, err))
				return
			}
			items = append(items, item)
		}
		for k := range b.Records {
			if t.wantsRecord(&b.Records[k]) {
				add(t.encoder.AppendRecord(nil, &b.Records[k]))
			}
		}
		for k := range b.Events {
			if t.wantsEvent(&b.Events[k]) {
				add(t.encoder.AppendEvent(nil, &b.Events[k]))
			}
		}
		if len(items) > 0 {
			o.to[i].PutAll(items)
		}
	}
	return errors.Join(errs...)
}

func (t *target) wantsEvent(e *sdk.Event) bool {
	return slices.Contains(t.Events, e.Type) || slices.Contains(t.Events, allEvents)
}

func (t *target) wantsRecord(r *sdk.Record) bool {
	return t.Requests.Sample > 0 && r.Status >= t.Requests.Status && rand.Float64() < t.Requests.Sample
}

// item is what is sent of an encoded record or event. Its key is the id of the message.
func (t *target) item(encoded []byte) (ship.Item, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return ship.Item{}, err
	}
	item := ship.Item{Key: []byte("msg_" + id.String()), Body: encoded}
	if t.rendered == nil {
		return item, nil
	}
	var data map[string]any
	if err := json.Unmarshal(encoded, &data); err != nil {
		return ship.Item{}, err
	}
	item.Body, err = t.rendered.Render(data)
	return item, err
}
