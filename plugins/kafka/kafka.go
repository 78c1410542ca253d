// Package kafka is the plugin that publishes records and events to a Kafka topic; README.md beside it is its manual.
package kafka

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed plugin.yaml
var manifest string

// Manifest returns plugin.yaml, which describes the plugin.
func Manifest() string { return manifest }

// settings are the plugin's configuration.
type settings struct {
	ship.Settings
	Brokers     []string          `json:"brokers"`
	Topic       string            `json:"topic"`       // default turnbuckle
	Key         string            `json:"key"`         // a template; default {key}; "" spreads over all partitions
	Headers     map[string]string `json:"headers"`     // of each message
	Compression string            `json:"compression"` // default lz4
	MaxSize     ship.Size         `json:"max_size"`    // of what a broker takes at a time; default 976KiB
	Create      bool              `json:"create"`      // the topic, where brokers allow it
	SASL        saslSettings      `json:"sasl"`
	TLS         ship.TLSSettings  `json:"tls"`

	key *record.Template
}

// saslSettings say who we are; nobody without a mechanism.
type saslSettings struct {
	Mechanism string `json:"mechanism"` // plain, scram-sha-256 or scram-sha-512
	User      string `json:"user"`
	Password  string `json:"password"`
}

// Bounds of what a message has beside its body, and how many bytes a message takes that are none of its own: with them a
// batch of ours is never more than one of Kafka's.
const (
	leastSize  = 64 << 10
	mostSize   = 512 << 20
	mostKey    = 256      // of the template; each of its fields is at most 64 bytes
	mostHeader = 16 << 10 // of all headers
	keyRoom    = 4 << 10  // what a key of such a template can be
	around     = 64       // lengths and numbers of a message
)

func parse(config json.RawMessage) (*settings, error) {
	s := &settings{Topic: "turnbuckle", Key: "{key}", Compression: "lz4", MaxSize: 976 << 10}
	return ship.Read("kafka", config, s, s.check, s.Complete)
}

func (s *settings) check() error {
	if len(s.Brokers) == 0 {
		return errors.New("brokers: at least one host:port is required")
	}
	for _, b := range s.Brokers {
		if b == "" || strings.ContainsAny(b, "/ \t") {
			return fmt.Errorf("brokers: %q is no host:port", b)
		}
	}
	const longest = 249 // which Kafka bounds names of topics to
	if !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(s.Topic) || len(s.Topic) > longest || s.Topic == "." || s.Topic == ".." {
		return fmt.Errorf("topic: %q is no name of a topic", s.Topic)
	}
	if len(s.Key) > mostKey {
		return fmt.Errorf("key: longer than %d bytes", mostKey)
	}
	if s.Key != "" {
		var err error
		if s.key, err = record.ParseTemplate(s.Key); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	if s.headerSize() > mostHeader {
		return fmt.Errorf("headers: more than %d bytes", mostHeader)
	}
	if s.MaxSize < leastSize || s.MaxSize > mostSize {
		return errors.New("max_size: between 64KiB and 512MiB")
	}
	if _, err := s.compression(); err != nil {
		return err
	}
	if _, err := s.mechanism(); err != nil {
		return err
	}
	return s.TLS.Check()
}

// headerSize is how much the headers take in each message, at most.
func (s *settings) headerSize() int {
	n := 0
	for name, value := range s.Headers {
		const lengths = 10
		n += len(name) + len(value) + lengths
	}
	return n
}

func (s *settings) compression() (kgo.CompressionCodec, error) {
	switch s.Compression {
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	case "none":
		return kgo.NoCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("compression: %q: lz4, snappy, gzip, zstd or none", s.Compression)
}

// mechanism is how we say who we are; nil: not at all.
func (s *settings) mechanism() (sasl.Mechanism, error) {
	m := &s.SASL
	if (m.Mechanism == "") != (m.User == "") {
		return nil, errors.New("sasl: mechanism and user belong together")
	}
	switch m.Mechanism {
	case "":
		return nil, nil
	case "plain":
		return plain.Auth{User: m.User, Pass: m.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: m.User, Pass: m.Password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: m.User, Pass: m.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q: plain, scram-sha-256 or scram-sha-512", m.Mechanism)
}

// linger is longer than handing a batch to the client takes, which then is told to send. Having been told once it goes on; with
// kgo.ManualFlushing what was not sent in time would lie there until it is told again, and hold whoever waits for its end.
const linger = time.Second

// options are the client's: idempotent, acknowledged by all replicas in sync. It sends when it is told to, so that what a
// partition gets of a batch of ours is one batch there, which arrives as a whole or not at all.
func (s *settings) options(secured *tls.Config) ([]kgo.Opt, error) {
	codec, err := s.compression()
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(s.Retry.Timeout)
	o := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...), kgo.DefaultProduceTopic(s.Topic), kgo.ClientID("turnbuckle"), kgo.SoftwareNameAndVersion("turnbuckle", "1"),
		kgo.ProducerBatchCompression(codec, kgo.NoCompression()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.AllowIdempotentProduceCancellation(),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(s.Batch.Count + 1),
		kgo.ProducerBatchMaxBytes(int32(s.MaxSize)), kgo.BrokerMaxWriteBytes(int32(max(100<<20, 2*s.MaxSize))),
		kgo.DialTimeout(timeout), kgo.ProduceRequestTimeout(timeout), kgo.RetryTimeout(timeout), kgo.UnknownTopicRetries(1), kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(min(timeout, time.Second)),
	}
	if s.Create {
		o = append(o, kgo.AllowAutoTopicCreation())
	}
	if secured != nil {
		o = append(o, kgo.DialTLSConfig(secured))
	}
	m, err := s.mechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		o = append(o, kgo.SASL(m))
	}
	return o, nil
}

// Check reports what is wrong with a configuration.
func Check(config json.RawMessage) error {
	_, err := parse(config)
	return err
}

var _ sdk.Factory = New

// New makes the plugin. It connects when there is something to publish.
func New(ctx context.Context, config json.RawMessage, h sdk.Host) (*sdk.Plugin, error) {
	s, err := parse(config)
	if err != nil {
		return nil, err
	}
	secured, err := s.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	options, err := s.options(secured)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	k, err := newSink(options, s.Headers)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	o := ship.Options{
		Name: "kafka", Settings: s.Settings, Sink: k, Host: h, Place: ship.Place(append([]string{s.Topic}, s.Brokers...)...),
	}
	o.Most.Item = int(s.MaxSize) - keyRoom - s.headerSize() - around
	o.Most.Count = max(1, int(s.MaxSize)/2/(around+s.headerSize()+1))
	o.Most.Size = int(s.MaxSize) / 2
	return ship.Plugin(ctx, "1.0.0", o, s.key)
}
