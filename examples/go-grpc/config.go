package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// config is what a definition can say to the hooks.
type config struct {
	// Maintenance, when not empty, answers every request with 503 and this message.
	Maintenance string `json:"maintenance"`
	// Tokens are the bearer tokens that are let in.
	Tokens map[string]caller `json:"tokens"`
	// StripVersion is a path prefix, such as /v1, that the upstream does not know.
	StripVersion string `json:"strip_version"`
}

type caller struct {
	Name    string `json:"name"`
	Plan    string `json:"plan"`
	Blocked bool   `json:"blocked"`
}

// configSchema lets the gateway refuse a wrong definition before it serves.
const configSchema = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "maintenance": {"type": "string"},
    "strip_version": {"type": "string", "pattern": "^/[^/?#]+$"},
    "tokens": {
      "type": "object",
      "additionalProperties": {
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
          "name": {"type": "string", "minLength": 1},
          "plan": {"type": "string"},
          "blocked": {"type": "boolean"}
        }
      }
    }
  }
}`

// configs remembers decoded configurations: the bytes are the same for every call of a route.
type configs struct {
	mu   sync.RWMutex
	seen map[string]*config
}

const maxConfigs = 256 // more than one server has routes; bounds what reloads leave behind

func (c *configs) of(x *sdk.Exchange) (*config, error) {
	text := x.Config()
	c.mu.RLock()
	cfg := c.seen[string(text)]
	c.mu.RUnlock()
	if cfg != nil {
		return cfg, nil
	}
	cfg = &config{}
	if len(text) > 0 {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(cfg); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxConfigs {
		c.seen = map[string]*config{}
	}
	c.seen[string(text)] = cfg
	return cfg, nil
}
