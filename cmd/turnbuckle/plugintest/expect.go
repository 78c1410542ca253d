package plugintest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/display"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// expectation is what shall come of an exchange; only what it says counts.
type expectation struct {
	// Outcome is continued, answered, refused or failed; Hook is the one that ended the exchange.
	Outcome string `yaml:"outcome"`
	Hook    string `yaml:"hook"`
	// Error is a part of what a refusal or a failure says.
	Error   string          `yaml:"error"`
	Request expectedRequest `yaml:"request"`
	Reply   expectedReply   `yaml:"reply"`
	// Session is keys of the session's JSON, null for nobody; Values are by name, null for none.
	Session someJSON            `yaml:"session"`
	Values  map[string]someJSON `yaml:"values"`
	// Log are parts of lines, each in a line of its own or not. Counters are sums.
	Log      []string         `yaml:"log"`
	Counters map[string]int64 `yaml:"counters"`
}

type expectedRequest struct {
	Method  string `yaml:"method"`
	Path    string `yaml:"path"` // with a ?, with the query too
	Headers lines  `yaml:"headers"`
	Body    body   `yaml:"body"`
}

type expectedReply struct {
	Status  int   `yaml:"status"`
	Headers lines `yaml:"headers"`
	Body    body  `yaml:"body"`
}

// UnmarshalNode implements [document.Unmarshaler]: an outcome that there is not would never come true.
func (e *expectation) UnmarshalNode(n *document.Node, d *document.Decoder) {
	type plain expectation
	d.Decode(n, (*plain)(e))
	if e.Outcome != "" && !slices.Contains([]string{continued, answered, refused, failed}, e.Outcome) {
		d.Errorf(n.Get("outcome"), "%q is no outcome: want continued, answered, refused or failed", e.Outcome)
	}
}

// mismatch is an expectation that has not come true.
type mismatch struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
}

// check holds a result against what is expected. A hook that failed where nothing says that it shall is a mismatch too.
func (e *expectation) check(r *result) {
	c := &checker{}
	switch {
	case e.Outcome != "" && e.Outcome != r.Outcome:
		c.add("outcome", e.Outcome, r.Outcome+because(r))
	case e.Outcome == "" && e.Error == "" && r.Outcome == failed:
		c.add("outcome", "no failure", r.Outcome+because(r))
	}
	c.equal("hook that ends it", e.Hook, r.By)
	if e.Error != "" && !strings.Contains(message(r), e.Error) {
		c.add("error", "… "+e.Error+" …", message(r))
	}
	e.checkRequest(c, &r.after.Request)
	e.checkReply(c, r)
	e.checkSession(c, r.after.Session)
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		data, ok := r.after.Values[name]
		c.json("value "+name, e.Values[name].RawMessage, data, ok)
	}
	e.checkLog(c, r)
	r.Failures, r.OK = c.failures, len(c.failures) == 0
}

// because is why an exchange ended as it did.
func because(r *result) string {
	if text := message(r); text != "" {
		return " by " + r.By + ": " + text
	}
	return ""
}

// message is what the refusal or failure that ended the exchange says.
func message(r *result) string {
	for i := range r.Hooks {
		switch h := &r.Hooks[i]; {
		case h.Refusal != nil:
			return strconv.Itoa(h.Refusal.Status) + " " + h.Refusal.Message
		case h.Error != nil:
			return h.Error.String()
		}
	}
	return ""
}

// String says where and what.
func (f *failure) String() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0:
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
}

func (e *expectation) checkRequest(c *checker, q *sdk.RequestSnapshot) {
	c.equal("request method", e.Request.Method, q.Method)
	target := q.Path
	if strings.Contains(e.Request.Path, "?") {
		target += "?" + q.Query
	}
	c.equal("request path", e.Request.Path, target)
	c.headers("request", e.Request.Headers, q.Header)
	c.body("request body", e.Request.Body, q.Body)
}

func (e *expectation) checkReply(c *checker, r *result) {
	p := r.after.Response
	for i := range r.Hooks {
		if refusal := r.Hooks[i].Refusal; refusal != nil { // the gateway makes its body of the message
			p.Status, p.Header, p.Body = refusal.Status, refusal.Headers, nil
		}
	}
	if e.Reply.Status != 0 && e.Reply.Status != p.Status {
		got := "none"
		if p.Status != 0 {
			got = strconv.Itoa(p.Status)
		}
		c.add("reply status", strconv.Itoa(e.Reply.Status), got)
	}
	c.headers("reply", e.Reply.Headers, p.Header)
	c.body("reply body", e.Reply.Body, p.Body)
}

func (e *expectation) checkSession(c *checker, s *sdk.Session) {
	if !e.Session.said {
		return
	}
	is := display.SessionKeys(s)
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(e.Session.RawMessage, &keys); err != nil || keys == nil {
		if s != nil {
			c.add("session", "nobody", s.KeyID)
		}
		return
	}
	if s == nil {
		c.add("session", string(e.Session.RawMessage), "nobody")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		var a, b any
		got, ok := is[key]
		if json.Unmarshal(keys[key], &a) != nil || ok && json.Unmarshal([]byte(got), &b) != nil || !within(a, b) {
			c.add("session "+key, string(keys[key]), orNone(got))
		}
	}
}

// within reports whether what a JSON value says stands in another: all keys of an object, and anything else as it is. What
// says nothing is in everything that does not say otherwise.
func within(want, got any) bool {
	keys, ok := want.(map[string]any)
	held, both := got.(map[string]any)
	if !ok || !both {
		return reflect.DeepEqual(want, got) || display.Empty(want) && display.Empty(got)
	}
	for key, v := range keys {
		if !within(v, held[key]) {
			return false
		}
	}
	return true
}

func (e *expectation) checkLog(c *checker, r *result) {
	var written []string
	counters := map[string]int64{}
	for i := range r.Hooks {
		for _, l := range r.Hooks[i].Log {
			written = append(written, l.Message)
		}
		for name, n := range r.Hooks[i].Counters {
			counters[name] += n
		}
	}
	for _, part := range e.Log {
		if !slices.ContainsFunc(written, func(l string) bool { return strings.Contains(l, part) }) {
			got := "no lines"
			if len(written) > 0 {
				got = strings.Join(written, "\n")
			}
			c.add("log", "… "+part+" …", got)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Counters)) {
		c.equal("counter "+name, strconv.FormatInt(e.Counters[name], 10), strconv.FormatInt(counters[name], 10))
	}
}

// checker collects what has not come true.
type checker struct{ failures []mismatch }

func (c *checker) add(what, want, got string) {
	c.failures = append(c.failures, mismatch{what, want, got})
}

// equal compares texts; an empty one that is wanted is none.
func (c *checker) equal(what, want, got string) {
	if want != "" && want != got {
		c.add(what, want, got)
	}
}

func (c *checker) headers(of string, want lines, got []sdk.Field) {
	for _, one := range want {
		var values []string
		for _, f := range got {
			if sdk.EqualFold(f.Name, one.name) {
				values = append(values, f.Value)
			}
		}
		if !slices.Equal(values, one.values) {
			c.add(of+" header "+one.name, listOf(one.values), listOf(values))
		}
	}
}

func listOf(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return strings.Join(values, "\n")
}

// body compares text as it is, and JSON by what it means.
func (c *checker) body(what string, want body, got []byte) {
	switch {
	case !want.said:
	case want.json:
		c.json(what, want.text, string(got), len(got) > 0)
	case string(want.text) != string(got):
		c.add(what, orNone(string(want.text)), orNone(string(got)))
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// json compares JSON values by what they mean; null stands for none.
func (c *checker) json(what string, want []byte, got string, is bool) {
	var a, b any
	if err := json.Unmarshal(want, &a); err != nil {
		c.add(what, string(want), got)
		return
	}
	err := json.Unmarshal([]byte(got), &b)
	if a == nil && !is || is && err == nil && reflect.DeepEqual(a, b) {
		return
	}
	if !is {
		got = "none"
	}
	c.add(what, string(want), got)
}
