// Package datadog is the plugin that counts requests, hooks and events in Datadog, by DogStatsD, and ships records to its
// logs; README.md beside it is its manual.
package datadog

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/post"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed plugin.yaml
var manifest string

// Manifest returns plugin.yaml, which describes the plugin.
func Manifest() string { return manifest }

// Datadog's log intake takes 5 MB, 1000 logs and 1 MB of a log at a time.
const (
	mostBatch = 5_000_000
	mostCount = 1000
	mostLog   = 1_000_000
)

// settings are the plugin's configuration.
type settings struct {
	ship.Settings
	Statsd    string        `json:"statsd"`    // host:port, or unix:///path of a socket; default 127.0.0.1:8125
	Metrics   *bool         `json:"metrics"`   // default true
	Namespace string        `json:"namespace"` // default turnbuckle
	Tags      []string      `json:"tags"`
	Logs      *logsSettings `json:"logs"` // nil: no logs
}

// logsSettings are about the HTTP intake for logs.
type logsSettings struct {
	APIKey   string `json:"api_key"`
	Endpoint string `json:"endpoint"`
	Service  string `json:"service"` // default turnbuckle
	Host     string `json:"host"`
	Gzip     *bool  `json:"gzip"` // default true
	CA       string `json:"ca"`   // a file of PEM roots in place of the system's
}

func parse(config json.RawMessage) (*settings, error) {
	s := &settings{}
	return ship.Read("datadog", config, s, s.complete)
}

func (s *settings) complete() error {
	ship.Default(&s.Statsd, "127.0.0.1:8125")
	ship.Default(&s.Namespace, "turnbuckle")
	ship.Default(&s.Metrics, new(true))
	if _, _, err := net.SplitHostPort(s.Statsd); err != nil && !strings.HasPrefix(s.Statsd, "unix://") {
		return fmt.Errorf("statsd: %q is neither host:port nor unix:///path", s.Statsd)
	}
	for _, tag := range s.Tags {
		if tag == "" || strings.ContainsAny(tag, ",|#\n") {
			return fmt.Errorf("tags: %q is no tag such as env:prod", tag)
		}
	}
	if l := s.Logs; l != nil {
		ship.Default(&l.Endpoint, "https://http-intake.logs.datadoghq.com/api/v2/logs")
		ship.Default(&l.Service, "turnbuckle")
		ship.Default(&l.Gzip, new(true))
		if l.APIKey == "" {
			return errors.New("logs.api_key: is required")
		}
		o := s.post()
		if err := post.Check(&o); err != nil {
			return fmt.Errorf("logs.endpoint: %w", err)
		}
	} else if !*s.Metrics {
		return errors.New("neither metrics nor logs: there is nothing to do")
	}
	return s.Complete()
}

// post is how the intake wants logs: a JSON array, and in each who sent it.
func (s *settings) post() post.Options {
	l := s.Logs
	who := fmt.Sprintf(`"ddsource":"turnbuckle","service":%s,`, quoted(l.Service))
	if l.Host != "" {
		who += fmt.Sprintf(`"hostname":%s,`, quoted(l.Host))
	}
	address := l.Endpoint
	if len(s.Tags) > 0 {
		separator := "?"
		if strings.Contains(address, "?") {
			separator = "&"
		}
		address += separator + "ddtags=" + url.QueryEscape(strings.Join(s.Tags, ","))
	}
	return post.Options{
		URL: address, Header: http.Header{"Content-Type": {"application/json"}, "Dd-Api-Key": {l.APIKey}, "User-Agent": {"turnbuckle"}},
		Open: "[", Between: ",", Close: "]", Insert: who, Gzip: *l.Gzip, CAFile: l.CA,
	}
}

func quoted(s string) []byte {
	b, _ := json.Marshal(s) // a string always can be
	return b
}

// Check reports what is wrong with a configuration.
func Check(config json.RawMessage) error {
	_, err := parse(config)
	return err
}

var _ sdk.Factory = New

// New makes the plugin.
func New(ctx context.Context, config json.RawMessage, h sdk.Host) (*sdk.Plugin, error) {
	s, err := parse(config)
	if err != nil {
		return nil, err
	}
	d := &datadog{}
	if *s.Metrics {
		d.metrics = newMetrics(s, h.Logger().With("plugin", "datadog"))
	}
	if s.Logs != nil {
		err = d.openLogs(ctx, s, h)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("datadog: %w", err), d.close())
	}
	return &sdk.Plugin{
		Name: "datadog", Version: "1.0.0",
		Observers: []sdk.ObserverSpec{{Name: "Ship", Observer: d}},
		Close:     d.close, Stats: d.stats,
	}, nil
}

// datadog is the plugin's observer: metrics, logs, or both.
type datadog struct {
	metrics *metrics
	shipper *ship.Shipper
	logs    *ship.Observer
}

func (d *datadog) openLogs(ctx context.Context, s *settings, h sdk.Host) error {
	sink, err := post.New(s.post())
	if err != nil {
		return err
	}
	o := ship.Options{Name: "datadog", Settings: s.Settings, Sink: sink, Host: h, Place: ship.Place(s.Logs.Endpoint, s.Logs.APIKey, s.Logs.Service)}
	o.Most.Count, o.Most.Item = mostCount, mostLog
	o.Most.Size = mostBatch - mostCount*(len(s.post().Insert)+1) // which no item counts
	d.shipper = ship.New(ctx, o)
	d.logs, err = ship.NewObserver(d.shipper, nil)
	return err
}

// RecordNeeds implements [sdk.RecordNeeder].
func (d *datadog) RecordNeeds() sdk.RecordNeeds {
	if d.logs == nil {
		return sdk.RecordNeeds{}
	}
	return d.logs.RecordNeeds()
}

// Observe implements [sdk.Observer].
func (d *datadog) Observe(ctx context.Context, b sdk.Batch) error {
	if d.metrics != nil {
		d.metrics.observe(&b)
	}
	if d.logs != nil {
		return d.logs.Observe(ctx, b)
	}
	return nil
}

func (d *datadog) stats() []sdk.Stat {
	var stats []sdk.Stat
	if d.metrics != nil {
		stats = d.metrics.stats()
	}
	if d.shipper != nil {
		stats = append(stats, d.shipper.Stats()...)
	}
	return stats
}

func (d *datadog) close() error {
	var errs []error
	if d.shipper != nil {
		errs = append(errs, d.shipper.Close())
	}
	if d.metrics != nil {
		errs = append(errs, d.metrics.close())
	}
	return errors.Join(errs...)
}
