package plugintest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// samples is a file of exchanges.
type samples struct {
	// Store and Keys are what is there before the first exchange; those of a file share them, in their order.
	Store map[string]string          `yaml:"store"`
	Keys  map[string]json.RawMessage `yaml:"keys"`
	// Route, Config and Hooks hold for exchanges that say nothing themselves.
	Route     route           `yaml:"route"`
	Config    json.RawMessage `yaml:"config"`
	Hooks     []string        `yaml:"hooks"`
	Exchanges []sample        `yaml:"exchanges"`
}

// sample is one exchange: what a client sends, what the upstream replies, and what shall come of it.
type sample struct {
	Name    string                     `yaml:"name"`
	Hooks   []string                   `yaml:"hooks"`
	Request request                    `yaml:"request"`
	Reply   reply                      `yaml:"reply"`
	Session json.RawMessage            `yaml:"session"`
	Values  map[string]json.RawMessage `yaml:"values"`
	Config  json.RawMessage            `yaml:"config"`
	Expect  expectation                `yaml:"expect"`
}

type route struct {
	ID         string `yaml:"id"`
	Name       string `yaml:"name"`
	Org        string `yaml:"org"`
	ListenPath string `yaml:"listen_path"`
}

type request struct {
	Method  string `yaml:"method"`
	Path    string `yaml:"path"` // and query
	Scheme  string `yaml:"scheme"`
	Host    string `yaml:"host"`
	Client  string `yaml:"client"`
	Headers lines  `yaml:"headers"`
	Body    body   `yaml:"body"`
}

type reply struct {
	Status  int   `yaml:"status"`
	Headers lines `yaml:"headers"`
	Body    body  `yaml:"body"`
}

// lines are headers by name, in the order of the file: a value, a list of values, or null for none.
type lines []line

type line struct {
	name   string
	values []string
}

// UnmarshalNode implements [document.Unmarshaler].
func (l *lines) UnmarshalNode(n *document.Node, d *document.Decoder) {
	if n.Kind != document.Mapping {
		d.Errorf(n, "must be a mapping of header names to values")
		return
	}
	for _, f := range n.Fields {
		one := line{name: f.Key}
		items := []*document.Node{f.Value}
		switch f.Value.Kind {
		case document.Null:
			items = nil
		case document.Sequence:
			items = f.Value.Items
		}
		for _, item := range items {
			if item.Kind == document.Mapping || item.Kind == document.Sequence || item.Kind == document.Null {
				d.Errorf(item, "must be a header's value, not %s", item.Kind)
				continue
			}
			one.values = append(one.values, item.Text)
		}
		*l = append(*l, one)
	}
}

func (l lines) fields() []sdk.Field {
	var all []sdk.Field
	for _, one := range l {
		for _, v := range one.values {
			all = append(all, sdk.Field{Name: one.name, Value: v})
		}
	}
	return all
}

// body is text, or what the file has in its place as JSON.
type body struct {
	said bool
	json bool
	text []byte
}

// UnmarshalNode implements [document.Unmarshaler].
func (b *body) UnmarshalNode(n *document.Node, d *document.Decoder) {
	b.said = true
	if n.Kind == document.String {
		b.text = []byte(n.Text)
		return
	}
	if n.Kind == document.Null {
		return
	}
	raw, problems := n.JSON()
	for _, p := range problems {
		d.Report(p)
	}
	b.json, b.text = true, raw
}

// someJSON is a JSON value, and whether one is said at all; null is one.
type someJSON struct {
	said bool
	json.RawMessage
}

// UnmarshalNode implements [document.Unmarshaler].
func (j *someJSON) UnmarshalNode(n *document.Node, d *document.Decoder) {
	raw, problems := n.JSON()
	for _, p := range problems {
		d.Report(p)
	}
	j.said, j.RawMessage = true, raw
}

// readSamples reads a file of exchanges.
func readSamples(file string) (*samples, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	root, problems := document.Parse(file, data)
	var s samples
	if !problems.Refused() {
		problems = append(problems, document.Decode(root, &s)...)
	}
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("the samples are refused:\n%w", err)
	}
	if len(s.Exchanges) == 0 {
		return nil, fmt.Errorf("%s: there are no exchanges in it: list them under exchanges", file)
	}
	names := map[string]bool{}
	for i := range s.Exchanges {
		e := &s.Exchanges[i]
		e.Name = cmp.Or(e.Name, fmt.Sprintf("exchange %d", i+1))
		if names[e.Name] {
			return nil, fmt.Errorf("%s: two exchanges are named %q", file, e.Name)
		}
		names[e.Name] = true
		if e.Config == nil {
			e.Config = s.Config
		}
		if e.Hooks == nil {
			e.Hooks = s.Hooks
		}
		if err := e.possible(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, e.Name, err)
		}
		e.complete()
	}
	return &s, nil
}

// possible says what of the exchange no client or upstream could send.
func (s *sample) possible() error {
	for _, f := range append(s.Request.Headers.fields(), s.Reply.Headers.fields()...) {
		if !sdk.ValidToken(f.Name) || !sdk.ValidFieldValue(f.Value) {
			return fmt.Errorf("header %q: %q: no header of HTTP (RFC 9110 §5)", f.Name, f.Value)
		}
	}
	path, query, _ := strings.Cut(cmp.Or(s.Request.Path, "/"), "?")
	switch {
	case s.Request.Method != "" && !sdk.ValidToken(s.Request.Method):
		return fmt.Errorf("method %q: no method of HTTP (RFC 9110 §9.1)", s.Request.Method)
	case !sdk.ValidPath(path) || !sdk.ValidQuery(query):
		return fmt.Errorf("path %q: no target of a request (RFC 9112 §3.2.1): it begins with a slash, and blanks are escaped", s.Request.Path)
	case s.Reply.Status != 0 && (s.Reply.Status < 200 || s.Reply.Status > 599):
		return fmt.Errorf("status %d: want 200 to 599", s.Reply.Status)
	}
	return nil
}

// complete fills in what is not said.
func (s *sample) complete() {
	q := &s.Request
	if q.Method == "" {
		q.Method = "GET"
		if q.Body.said {
			q.Method = "POST"
		}
	}
	q.Path, q.Scheme, q.Host = cmp.Or(q.Path, "/"), cmp.Or(q.Scheme, "http"), cmp.Or(q.Host, "api.example.test")
	q.Client = cmp.Or(q.Client, "192.0.2.1:54321")
	if q.Body.said && !q.Headers.has("Content-Type") {
		kind := "text/plain; charset=utf-8"
		if q.Body.json || json.Valid(q.Body.text) {
			kind = "application/json"
		}
		q.Headers = append(q.Headers, line{"Content-Type", []string{kind}})
	}
	s.Reply.Status = cmp.Or(s.Reply.Status, 200)
}

func (l lines) has(name string) bool {
	for _, one := range l {
		if sdk.EqualFold(one.name, name) {
			return true
		}
	}
	return false
}

// builtIn is the exchange of those who bring none.
func builtIn() sample {
	return sample{
		Name: "built-in",
		Request: request{
			Path: "/orders/42?page=2",
			Headers: lines{
				{"User-Agent", []string{"turnbuckle-plugin-test"}}, {"Accept", []string{"application/json"}},
				{"Authorization", []string{"Bearer test-token"}}, {"X-Real-Ip", []string{"192.0.2.1"}},
			},
		},
		Reply: reply{
			Headers: lines{{"Content-Type", []string{"application/json"}}, {"Server", []string{"upstream"}}},
			Body:    body{said: true, json: true, text: []byte(`{"order":42,"status":"shipped"}`)},
		},
	}
}
