// Package nats is the plugin that publishes records and events to a stream of NATS JetStream; README.md beside it is its
// manual.
package nats

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"

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
	Servers []string         `json:"servers"`
	Subject string           `json:"subject"` // a template; default turnbuckle.{kind}.{api}.{class}
	Stream  streamSettings   `json:"stream"`
	User    string           `json:"user"`
	Pass    string           `json:"password"`
	Token   string           `json:"token"`
	Creds   string           `json:"credentials"` // a file that nsc wrote
	NKey    string           `json:"nkey"`        // a file with the seed of a user's key
	TLS     ship.TLSSettings `json:"tls"`

	subject *record.Template
}

// streamSettings are the stream that has to have the subject.
type streamSettings struct {
	Name string `json:"name"` // default TURNBUCKLE
	// Create makes it, with files, the subject's first word and all below it, and these bounds, when it is not there.
	Create   bool          `json:"create"`
	Replicas int           `json:"replicas"` // default 1
	MaxSize  ship.Size     `json:"max_size"` // default 1GiB
	MaxAge   ship.Duration `json:"max_age"`  // default 168h
}

func parse(config json.RawMessage) (*settings, error) {
	s := &settings{
		Subject: "turnbuckle.{kind}.{api}.{class}",
		Stream:  streamSettings{Name: "TURNBUCKLE", Replicas: 1, MaxSize: 1 << 30, MaxAge: ship.Duration(168 * time.Hour)},
	}
	return ship.Read("nats", config, s, s.check, s.Complete)
}

func (s *settings) check() error {
	if len(s.Servers) == 0 {
		return errors.New("servers: at least one address such as nats://host:4222 is required")
	}
	for _, server := range s.Servers {
		if err := checkServer(server); err != nil {
			return err
		}
	}
	if s.Stream.Name == "" || strings.ContainsAny(s.Stream.Name, ".*>/\\ \t\r\n") {
		return fmt.Errorf("stream.name: %q is no name of a stream", s.Stream.Name)
	}
	var err error
	if s.subject, err = record.ParseTemplate(s.Subject); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	words := strings.Split(s.Subject, ".")
	if strings.ContainsAny(words[0], "{}") || slices.Contains(words, "") || strings.ContainsAny(s.Subject, "*> \t\r\n") {
		return fmt.Errorf("subject: %q: words between dots, the first no template, and no wildcards", s.Subject)
	}
	ways := 0
	for _, way := range []string{s.User, s.Token, s.Creds, s.NKey} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("one of user, token, credentials and nkey says who we are")
	}
	if s.Pass != "" && s.User == "" {
		return errors.New("password: there is no user")
	}
	return s.TLS.Check()
}

// checkServer reports what is wrong with an address, without repeating it: it may hold a password.
func checkServer(server string) error {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || strings.Contains(server, ",") || u.Scheme != "nats" && u.Scheme != "tls" {
		return errors.New("servers: an address is like nats://host:4222 or tls://host:4222")
	}
	return nil
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
	options, err := s.options()
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	return ship.Plugin(ctx, "1.0.0", ship.Options{
		Name: "nats", Settings: s.Settings, Sink: &sink{s: s, options: options, run: ship.Run()}, Host: h,
		Place: ship.Place(append([]string{s.Stream.Name}, s.Servers...)...),
	}, s.subject)
}

// options are the connection's. It neither comes again by itself nor keeps what it could not send: a message behind a gap
// would arrive before what is sent again, and keeping is the spool's.
func (s *settings) options() ([]client.Option, error) {
	o := []client.Option{client.Name("turnbuckle"), client.NoReconnect()}
	secured, err := s.TLS.Config()
	if err != nil {
		return nil, err
	}
	if secured != nil {
		o = append(o, client.Secure(secured))
	}
	switch {
	case s.User != "":
		o = append(o, client.UserInfo(s.User, s.Pass))
	case s.Token != "":
		o = append(o, client.Token(s.Token))
	case s.Creds != "":
		o = append(o, client.UserCredentials(s.Creds))
	case s.NKey != "":
		key, err := client.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %s: %w", s.NKey, err)
		}
		o = append(o, key)
	}
	return o, nil
}
