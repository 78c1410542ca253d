// Package loggly is the plugin that ships records and events to Loggly's HTTP bulk endpoint; README.md beside it is its
// manual.
package loggly

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
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

// Loggly takes 5 MiB in a bulk request, and 1 MiB in an event.
const (
	mostBulk  = 5 << 20
	mostEvent = 1 << 20
)

// settings are the plugin's configuration.
type settings struct {
	ship.Settings
	// Token is a customer token. It is part of the address, and is not logged.
	Token string `json:"token"`
	// Tags are sent with each batch.
	Tags     []string `json:"tags"`
	Endpoint string   `json:"endpoint"` // default https://logs-01.loggly.com
	Gzip     *bool    `json:"gzip"`     // default true
	CA       string   `json:"ca"`       // a file of PEM roots in place of the system's
}

func parse(config json.RawMessage) (*settings, error) {
	s := &settings{}
	if err := ship.Decode(config, s); err != nil {
		return nil, fmt.Errorf("loggly: %w", err)
	}
	ship.Default(&s.Endpoint, "https://logs-01.loggly.com")
	ship.Default(&s.Gzip, new(true))
	err := s.Complete()
	if s.Token == "" {
		err = errors.New("token: a customer token is required")
	}
	for _, tag := range s.Tags {
		if tag == "" || strings.ContainsAny(tag, ", \t\r\n") {
			err = fmt.Errorf("tags: %q is no tag", tag)
		}
	}
	if err == nil {
		o := s.post()
		err = post.Check(&o)
	}
	if err != nil {
		return nil, fmt.Errorf("loggly: %w", err)
	}
	return s, nil
}

// post is how Loggly wants it: a line for each event.
func (s *settings) post() post.Options {
	o := post.Options{
		URL:    strings.TrimSuffix(s.Endpoint, "/") + "/bulk/" + url.PathEscape(s.Token) + "/tag/" + url.PathEscape(s.tags()) + "/",
		Header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"turnbuckle"}},
		Gzip:   *s.Gzip, Between: "\n", CAFile: s.CA,
	}
	return o
}

func (s *settings) tags() string {
	if len(s.Tags) == 0 {
		return "turnbuckle"
	}
	return strings.Join(s.Tags, ",")
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
	sink, err := post.New(s.post())
	if err != nil {
		return nil, fmt.Errorf("loggly: %w", err)
	}
	o := ship.Options{Name: "loggly", Settings: s.Settings, Sink: sink, Host: h, Place: ship.Place(s.Endpoint, s.Token, s.tags())}
	o.Most.Size, o.Most.Item = mostBulk, mostEvent
	return ship.Plugin(ctx, "1.0.0", o, nil)
}
