// Package all lists the ready-made plugins: what a definition can turn on by name under use. There is no other
// registration.
package all

import (
	"encoding/json"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/amqp"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/bots"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/correlation"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/datadog"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/kafka"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/loggly"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/nats"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/webhook"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Plugin is one ready-made plugin.
type Plugin struct {
	Name string
	// Manifest is its plugin.yaml: name, hooks, observers, and the schema of its configuration.
	Manifest string
	// Check reports what is wrong with a configuration, as New would, and opens nothing.
	Check func(config json.RawMessage) error
	New   sdk.Factory
}

// Plugins returns the list, in the order of their names.
func Plugins() []Plugin {
	return []Plugin{
		{"amqp", amqp.Manifest(), amqp.Check, amqp.New},
		{"bots", bots.Manifest(), bots.Check, bots.New},
		{"correlation", correlation.Manifest(), correlation.Check, correlation.New},
		{"datadog", datadog.Manifest(), datadog.Check, datadog.New},
		{"kafka", kafka.Manifest(), kafka.Check, kafka.New},
		{"loggly", loggly.Manifest(), loggly.Check, loggly.New},
		{"nats", nats.Manifest(), nats.Check, nats.New},
		{"webhook", webhook.Manifest(), webhook.Check, webhook.New},
	}
}
