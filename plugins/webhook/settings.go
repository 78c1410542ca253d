package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/internal/template"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/record"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// settings are the plugin's configuration; README.md says what each means.
type settings struct {
	Targets []target `json:"targets"`
	// Allow lists prefixes of addresses that are nobody's in the internet and may be reached all the same.
	Allow []string `json:"allow"`

	allowed []netip.Prefix
}

// target is one receiver.
type target struct {
	URL      string   `json:"url"`
	Events   []string `json:"events"` // types; ["all"] is the default, [] none
	Requests requests `json:"requests"`

	Template    string            `json:"template"`     // default: the record or event as JSON
	ContentType string            `json:"content_type"` // default application/json
	Method      string            `json:"method"`       // default POST
	Headers     map[string]string `json:"headers"`
	Secrets     []string          `json:"secrets"`
	CA          string            `json:"ca"`

	InFlight   int                `json:"in_flight"` // default 4
	Rate       rate               `json:"rate"`
	Attempts   int                `json:"attempts"` // default 10
	Retry      ship.RetrySettings `json:"retry"`
	Queue      ship.QueueSettings `json:"queue"`
	Spool      ship.SpoolSettings `json:"spool"`
	DeadLetter deadLetterSettings `json:"dead_letter"`

	Fields      []string `json:"fields"`
	Without     []string `json:"without"`
	Secret      []string `json:"secret"`
	ShowSecrets bool     `json:"show_secrets"`

	keys     [][]byte // of signatures
	rendered *template.Template
	encoder  *record.Encoder
	ship     ship.Settings
}

// requests says which records are sent.
type requests struct {
	Sample float64 `json:"sample"` // of 1; default 0: none
	Status int     `json:"status"` // of at least that; default all

	Headers         ship.Names `json:"headers"` // that records hold; default none
	ResponseHeaders ship.Names `json:"response_headers"`
}

type rate struct {
	Requests float64       `json:"requests"` // default: no bound
	Per      ship.Duration `json:"per"`      // default 1s
}

type deadLetterSettings struct {
	Size *ship.Size `json:"size"` // default 16MiB; "0" keeps none
}

func parseSettings(config json.RawMessage) (*settings, error) {
	s := &settings{}
	if err := ship.Decode(config, s); err != nil {
		return nil, err
	}
	if len(s.Targets) == 0 {
		return nil, errors.New("targets: at least one is required")
	}
	for _, text := range s.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("allow: %q is no prefix of addresses such as 10.0.0.0/8", text)
		}
		const mapped = 96 // bits before an address of IPv4 that is written as one of IPv6
		if p.Addr().Is4In6() && p.Bits() >= mapped {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
		}
		s.allowed = append(s.allowed, p.Masked())
	}
	seen := map[string]bool{}
	for i := range s.Targets {
		t := &s.Targets[i]
		if err := t.complete(); err != nil {
			return nil, fmt.Errorf("targets[%d].%w", i, err)
		}
		if u, err := url.Parse(t.URL); err == nil {
			if addr, err := netip.ParseAddr(u.Hostname()); err == nil && newGuard(s.allowed).judge(addr) != nil {
				return nil, fmt.Errorf("targets[%d].url: %w", i, newGuard(s.allowed).judge(addr))
			}
		}
		if seen[t.place()] {
			return nil, fmt.Errorf("targets[%d]: the same as one before it", i)
		}
		seen[t.place()] = true
	}
	return s, nil
}

// place tells what waits for one target from what waits for others.
func (t *target) place() string {
	return ship.Place(t.URL, t.Method, t.ContentType, t.Template, strings.Join(t.Events, ","))
}

func (t *target) complete() error {
	ship.Default(&t.ContentType, "application/json")
	ship.Default(&t.Method, http.MethodPost)
	ship.Default(&t.InFlight, 4)
	ship.Default(&t.Attempts, 10)
	ship.Default(&t.Rate.Per, ship.Duration(time.Second))
	if t.Events == nil {
		t.Events = []string{allEvents}
	}
	if t.DeadLetter.Size == nil {
		size := ship.Size(16 << 20)
		t.DeadLetter.Size = &size
	}
	if err := t.check(); err != nil {
		return err
	}
	for _, text := range t.Secrets {
		key, err := parseSecret(text)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, key)
	}
	var err error
	if t.Template != "" {
		if t.rendered, err = parseTemplate(t.Template); err != nil {
			return err
		}
	}
	if t.encoder, err = record.NewEncoder(record.Options{
		Only: t.Fields, Without: t.Without, Secret: t.Secret, ShowSecrets: t.ShowSecrets,
		Headers: &sdk.RecordNeeds{Header: t.Requests.Headers, ReplyHeader: t.Requests.ResponseHeaders},
	}); err != nil {
		return err
	}
	// As many as may be under way are a batch; nobody waits for them to come together.
	t.ship = ship.Settings{Retry: t.Retry, Queue: t.Queue, Spool: t.Spool}
	t.ship.Batch.Count, t.ship.Batch.Wait = t.InFlight, ship.Duration(time.Millisecond)
	return t.ship.Complete()
}

const (
	allEvents   = "all"
	maxInFlight = 256
)

func (t *target) check() error {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("url: must begin with https:// or http:// and name a host") // it may hold a token
	case u.User != nil:
		return errors.New("url: give credentials under headers")
	case t.Method != http.MethodPost && t.Method != http.MethodPut && t.Method != http.MethodPatch:
		return fmt.Errorf("method: %q: POST, PUT or PATCH", t.Method)
	case t.InFlight < 1 || t.InFlight > maxInFlight:
		return fmt.Errorf("in_flight: %d: 1 to %d", t.InFlight, maxInFlight)
	case t.Attempts < 1:
		return errors.New("attempts: at least 1")
	case t.Rate.Requests < 0:
		return errors.New("rate: requests are not below 0")
	case t.Requests.Sample < 0 || t.Requests.Sample > 1:
		return fmt.Errorf("requests.sample: %g: a share of 1", t.Requests.Sample)
	case len(t.Events) == 0 && t.Requests.Sample == 0:
		return errors.New("events: none, and requests.sample is 0: nothing would ever be sent")
	case slices.Contains(t.Events, allEvents) && len(t.Events) > 1:
		return errors.New("events: all, or a list of types")
	}
	for name, value := range t.Headers {
		if !sdk.ValidToken(name) || !sdk.ValidFieldValue(value) {
			return fmt.Errorf("headers: %q is no header, or has no valid value", name)
		}
		if slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer"}, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("headers: %s is what the URL and the body say", name)
		}
	}
	return nil
}

// parseSecret reads a secret as Standard Webhooks writes it, whsec_ and base64, or takes the text as it is.
func parseSecret(text string) ([]byte, error) {
	key := []byte(text)
	if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("secrets: behind whsec_ stands no base64")
		}
	}
	const least = 16
	if len(key) < least {
		return nil, fmt.Errorf("secrets: one is shorter than %d bytes", least)
	}
	return key, nil
}

// parseTemplate compiles a template, which sees a record or an event as its JSON has it.
func parseTemplate(text string) (*template.Template, error) {
	t, err := template.Parse("template", text, template.Options{Funcs: map[string]template.Func{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return t, nil
}
