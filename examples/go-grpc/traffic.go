package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// traffic counts what passed and logs what went wrong. Batches come one at a time; the lock is for close.
type traffic struct {
	log *slog.Logger

	mu      sync.Mutex
	byClass [6]int // of status: byClass[2] counts 200 to 299
	events  int
	dropped uint64
}

// Observe takes a batch of records and events.
func (t *traffic) Observe(_ context.Context, b sdk.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range b.Records {
		r := &b.Records[i]
		if class := r.Status / 100; class >= 1 && class < len(t.byClass) {
			t.byClass[class]++
		}
		if r.Status >= 500 {
			t.log.Warn("request failed", "route", r.Route, "method", r.Method, "path", r.Path, "status", r.Status,
				"duration", r.Duration, "request_id", r.RequestID, "error", r.Error)
		}
	}
	for _, e := range b.Events {
		t.events++
		t.log.Info("event", "type", e.Type, "route", e.Route, "message", e.Message)
	}
	t.dropped += b.Dropped
	return nil
}

// close says what was seen, once nothing calls the plugin any more.
func (t *traffic) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log.Info("traffic", "2xx", t.byClass[2], "3xx", t.byClass[3], "4xx", t.byClass[4], "5xx", t.byClass[5],
		"events", t.events, "dropped", t.dropped)
	return nil
}
