package datadog

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// metrics counts records by their tags, and once a second gives DogStatsD one count and one list of samples for each:
// nothing is formatted for a single request. It is safe for concurrent use.
type metrics struct {
	s           *settings
	log         *slog.Logger
	stop, ended chan struct{}
	client      *statsd.ClientDirect // nil until there is one; the goroutine's

	once     sync.Once // closes stop
	mu       sync.Mutex
	failing  error // why the last flush failed
	lost     int64 // flushes that failed
	accepted int64 // records and events that were counted
	dropped  int64 // records that did not come this far
	requests map[requestKey]*requestSum
	hooks    map[hookKey]*hookSum
	events   map[eventKey]*eventSum
}

type requestKey struct {
	api    string
	status int
}

type requestSum struct {
	tags            []string
	count, in, out  int64
	total, upstream []float64
}

type hookKey struct {
	api, name, server string
	phase             sdk.Phase
	outcome           sdk.Outcome
}

type hookSum struct {
	tags  []string
	count int64
	took  []float64
}

type eventKey struct{ api, kind string }

type eventSum struct {
	tags  []string
	count int64
}

// maxSeries bounds how many combinations of tags are remembered. They are made of names in definitions and of statuses:
// over it the memory begins anew. maxSamples bounds the samples of one series in an interval: percentiles need no more.
const (
	maxSeries  = 4096
	maxSamples = 2000
	interval   = time.Second
)

// newMetrics starts sending what is counted; close ends it.
func newMetrics(s *settings, log *slog.Logger) *metrics {
	m := &metrics{
		s: s, log: log, stop: make(chan struct{}), ended: make(chan struct{}),
		requests: map[requestKey]*requestSum{}, hooks: map[hookKey]*hookSum{}, events: map[eventKey]*eventSum{},
	}
	go m.run()
	return m
}

func (m *metrics) run() {
	defer close(m.ended)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.flush()
		case <-m.stop:
			m.flush()
			return
		}
	}
}

func (m *metrics) close() error {
	m.once.Do(func() { close(m.stop) })
	<-m.ended
	if m.client == nil {
		return nil
	}
	return m.client.Close()
}

// connect makes the client, which has to find its address. A host that cannot be found today may be tomorrow.
func (m *metrics) connect() error {
	if m.client != nil {
		return nil
	}
	client, err := statsd.NewDirect(m.s.Statsd, statsd.WithNamespace(m.s.Namespace), statsd.WithTags(m.s.Tags),
		statsd.WithoutTelemetry(), statsd.WithoutOriginDetection(), statsd.WithoutClientSideAggregation())
	if err != nil {
		return err
	}
	m.client = client
	return nil
}

// flush sends what was counted since the last time; without a client it is lost, as what UDP carries may be.
func (m *metrics) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.connect()
	if err == nil {
		err = m.send()
	}
	if err != nil && m.failing == nil {
		m.log.Warn("metrics do not reach DogStatsD", "error", err.Error())
	}
	m.failing = err
	if err != nil {
		m.lost++
	}
	if m.client == nil || len(m.requests)+len(m.hooks)+len(m.events) > maxSeries {
		clear(m.requests)
		clear(m.hooks)
		clear(m.events)
	}
}

func (m *metrics) observe(b *sdk.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted += int64(len(b.Records) + len(b.Events))
	for i := range b.Records {
		m.request(&b.Records[i])
	}
	for i := range b.Events {
		m.event(&b.Events[i])
	}
	m.dropped += int64(b.Dropped)
}

func (m *metrics) request(r *sdk.Record) {
	k := requestKey{r.Route, r.Status}
	s := m.requests[k]
	if s == nil {
		s = &requestSum{tags: []string{"api:" + tag(r.Route), "status:" + strconv.Itoa(r.Status), "status_class:" + record.Class(r.Status)}}
		m.requests[k] = s
	}
	s.count++
	s.in += r.RequestSize
	s.out += r.ReplySize
	if len(s.total) < maxSamples {
		s.total = append(s.total, millis(r.Duration))
	}
	if r.Upstream > 0 && len(s.upstream) < maxSamples {
		s.upstream = append(s.upstream, millis(r.Upstream))
	}
	for i := range r.Hooks {
		m.hook(r.Route, &r.Hooks[i])
	}
}

func (m *metrics) hook(api string, h *sdk.HookRecord) {
	k := hookKey{api, h.Name, h.Server, h.Phase, h.Outcome}
	s := m.hooks[k]
	if s == nil {
		s = &hookSum{tags: []string{"api:" + tag(api), "hook:" + tag(h.Name), "server:" + tag(h.Server), "phase:" + h.Phase.String(), "outcome:" + h.Outcome.String()}}
		m.hooks[k] = s
	}
	s.count++
	if len(s.took) < maxSamples {
		s.took = append(s.took, millis(h.Duration))
	}
}

func (m *metrics) event(e *sdk.Event) {
	k := eventKey{e.Route, e.Type}
	s := m.events[k]
	if s == nil {
		s = &eventSum{tags: []string{"api:" + tag(e.Route), "type:" + tag(e.Type)}}
		m.events[k] = s
	}
	s.count++
}

// send hands the sums over and begins them anew.
func (m *metrics) send() error {
	var errs []error
	count := func(name string, n int64, tags []string) {
		if n > 0 {
			errs = append(errs, m.client.Count(name, n, tags, 1))
		}
	}
	samples := func(name string, values []float64, tags []string) {
		if len(values) > 0 {
			errs = append(errs, m.client.DistributionSamples(name, values, tags, 1))
		}
	}
	for _, s := range m.requests {
		if s.count == 0 {
			continue
		}
		count("requests", s.count, s.tags)
		count("request.bytes", s.in, s.tags)
		count("response.bytes", s.out, s.tags)
		samples("request.duration", s.total, s.tags)
		samples("request.upstream_duration", s.upstream, s.tags)
		*s = requestSum{tags: s.tags, total: s.total[:0], upstream: s.upstream[:0]}
	}
	for _, s := range m.hooks {
		count("hooks", s.count, s.tags)
		samples("hook.duration", s.took, s.tags)
		*s = hookSum{tags: s.tags, took: s.took[:0]}
	}
	for _, s := range m.events {
		count("events", s.count, s.tags)
		s.count = 0
	}
	count("records.dropped", m.dropped, nil)
	m.dropped = 0
	errs = append(errs, m.client.Flush())
	return errors.Join(errs...)
}

// stats are what did not go out.
func (m *metrics) stats() []sdk.Stat {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []sdk.Stat{
		{Name: "statsd_accepted", Value: float64(m.accepted), Total: true}, {Name: "statsd_failures", Value: float64(m.lost), Total: true},
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// tag is a value as tags may have it: what separates them becomes an underscore.
func tag(value string) string {
	if value == "" {
		return "none"
	}
	return strings.Map(func(c rune) rune {
		if c == ',' || c == '|' || c == '#' || c < ' ' {
			return '_'
		}
		return c
	}, value)
}
