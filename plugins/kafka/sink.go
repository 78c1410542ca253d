package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
)

// sink produces batches.
type sink struct {
	client  *kgo.Client
	headers []kgo.RecordHeader
	heard   *hearsay
}

var _ ship.Sink = (*sink)(nil)

// newSink makes a sink, which connects when it has something to send.
func newSink(options []kgo.Opt, headers map[string]string) (*sink, error) {
	k := &sink{heard: &hearsay{}}
	for name, value := range headers {
		k.headers = append(k.headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	slices.SortFunc(k.headers, func(a, b kgo.RecordHeader) int { return cmp.Compare(a.Key, b.Key) })
	var err error
	k.client, err = kgo.NewClient(append(slices.Clone(options), kgo.WithLogger(k.heard))...)
	return k, err
}

// batch is what is known of one that is under way.
type batch struct {
	records []kgo.Record

	mu    sync.Mutex
	left  int
	first int // of the items that have not arrived
	err   error
	done  chan struct{}
}

// promise is what the client calls when it knows what has become of a record.
func (b *batch) promise(r *kgo.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		for i := range b.first {
			if r == &b.records[i] {
				b.first, b.err = i, err
				break
			}
		}
	}
	if b.left--; b.left == 0 {
		close(b.done)
	}
}

// Send implements [ship.Sink]. Partitions take their parts of a batch each for itself: what follows the first item that
// has not arrived may have, and is produced again.
func (k *sink) Send(ctx context.Context, items []ship.Item) (int, error) {
	if len(items) == 0 {
		return 0, nil
	}
	k.heard.forget()
	b := &batch{records: make([]kgo.Record, len(items)), left: len(items), first: len(items), done: make(chan struct{})}
	kept := b.promise
	for i := range items {
		r := &b.records[i]
		r.Value, r.Headers = items[i].Body, k.headers
		if len(items[i].Key) > 0 { // one that is empty would be a key like any other
			r.Key = items[i].Key
		}
		k.client.Produce(ctx, r, kept)
	}
	_ = k.client.Flush(ctx) // which ends as ctx does, and so do the promises
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first, k.judge(b.err)
}

// judge finds out what will never be taken. A broker judges all of a partition's batch by its worst: so fewer are tried, until
// the one is alone.
func (k *sink) judge(err error) error {
	for _, never := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp} {
		if errors.Is(err, never) {
			return ship.TooLarge(err)
		}
	}
	if err == nil {
		return nil
	}
	return k.heard.why(err)
}

// Close implements [ship.Sink].
func (k *sink) Close() error {
	k.client.Close()
	return nil
}

// hearsay keeps what the client last said against a broker: that an attempt took too long is all that its errors say when
// nobody answers. It implements [kgo.Logger].
type hearsay struct {
	mu   sync.Mutex
	said string
}

// Level implements [kgo.Logger].
func (*hearsay) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements [kgo.Logger].
func (h *hearsay) Log(_ kgo.LogLevel, what string, about ...any) {
	for i := 0; i+1 < len(about); i += 2 {
		if about[i] != "err" || about[i+1] == nil {
			continue
		}
		h.mu.Lock()
		h.said = fmt.Sprintf("%s: %v", what, about[i+1])
		h.mu.Unlock()
	}
}

func (h *hearsay) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = ""
}

// why is err with what was heard about it.
func (h *hearsay) why(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.said == "" || strings.Contains(h.said, err.Error()) && errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, h.said)
}
