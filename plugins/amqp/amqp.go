// Package amqp is the plugin that publishes records and events to an AMQP 0-9-1 broker such as RabbitMQ; README.md beside
// it is its manual.
package amqp

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	rabbit "github.com/rabbitmq/amqp091-go"

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
	URL        string           `json:"url"` // with user and password
	Exchange   exchangeSettings `json:"exchange"`
	Bind       bindSettings     `json:"bind"`
	RoutingKey string           `json:"routing_key"` // a template; default {kind}.{api}.{class}
	Transient  bool             `json:"transient"`
	TLS        ship.TLSSettings `json:"tls"`

	key *record.Template
}

// exchangeSettings are the exchange that is published to.
type exchangeSettings struct {
	Name    string `json:"name"`    // default turnbuckle
	Type    string `json:"type"`    // default topic
	Declare *bool  `json:"declare"` // default true
}

// bindSettings are a queue that is declared and bound to the exchange, so that nothing is lost before somebody consumes;
// none without a name.
type bindSettings struct {
	Queue string `json:"queue"`
	Key   string `json:"key"` // default #
}

// maxKey bounds a routing key, and the name of an exchange: short strings (AMQP 0-9-1 §4.2.5.3).
const maxKey = 255

func parse(config json.RawMessage) (*settings, error) {
	s := &settings{}
	return ship.Read("amqp", config, s, s.complete)
}

func (s *settings) complete() error {
	ship.Default(&s.Exchange.Name, "turnbuckle")
	ship.Default(&s.Exchange.Type, "topic")
	ship.Default(&s.Exchange.Declare, new(true))
	ship.Default(&s.Bind.Key, "#")
	ship.Default(&s.RoutingKey, "{kind}.{api}.{class}")
	uri, err := rabbit.ParseURI(s.URL)
	if err != nil {
		return errors.New("url: is not like amqp://user:password@host:5672/vhost") // without the URL, which has a password
	}
	if uri.Scheme == "amqps" {
		s.TLS.Enabled = true
	}
	if !slices.Contains([]string{"topic", "direct", "fanout", "headers"}, s.Exchange.Type) && !strings.HasPrefix(s.Exchange.Type, "x-") {
		return fmt.Errorf("exchange.type: %q: topic, direct, fanout, headers, or a plugin's that begins with x-", s.Exchange.Type)
	}
	if len(s.Exchange.Name) > maxKey {
		return fmt.Errorf("exchange.name: longer than %d bytes", maxKey)
	}
	if s.key, err = record.ParseTemplate(s.RoutingKey); err != nil {
		return fmt.Errorf("routing_key: %w", err)
	}
	return errors.Join(s.TLS.Check(), s.Complete())
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
		return nil, fmt.Errorf("amqp: %w", err)
	}
	return ship.Plugin(ctx, "1.0.0", ship.Options{
		Name: "amqp", Settings: s.Settings, Sink: &sink{s: s, tls: secured, run: ship.Run()}, Host: h, Place: ship.Place(s.URL, s.Exchange.Name),
	}, s.key)
}
