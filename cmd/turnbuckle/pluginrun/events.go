package pluginrun

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/display"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// These are the lines of --json.

type servingEvent struct {
	Event    string      `json:"event"`
	Gateway  string      `json:"gateway"`
	Upstream string      `json:"upstream"`
	Sample   bool        `json:"sample_upstream"`
	Plugin   string      `json:"plugin"`
	Version  string      `json:"version,omitempty"`
	Folder   string      `json:"folder"`
	Hooks    []namedHook `json:"hooks"`
	Open     bool        `json:"everybody_is_let_in,omitempty"`
}

type namedHook struct {
	Phase string `json:"phase"`
	Name  string `json:"name"`
}

// buildEvent is a run of the build command.
type buildEvent struct {
	Event    string   `json:"event"`
	Command  []string `json:"command"`
	OK       bool     `json:"ok"`
	Duration int64    `json:"duration_ms"`
	Output   string   `json:"output,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// changeEvent is what was done about files that changed.
type changeEvent struct {
	Event    string   `json:"event"`
	Files    []string `json:"files"`
	Did      string   `json:"did"` // reloaded, replaced or nothing
	Duration int64    `json:"duration_ms"`
	Error    string   `json:"error,omitempty"`
}

// logEvent is a line of the gateway's log.
type logEvent struct {
	Event   string         `json:"event"`
	Level   string         `json:"level"`
	Message string         `json:"message"`
	Fields  map[string]any `json:"fields,omitempty"`
}

type exchangeEvent struct {
	Event      string      `json:"event"`
	Time       time.Time   `json:"time"`
	RequestID  string      `json:"request_id"`
	Client     string      `json:"client"`
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Query      string      `json:"query,omitempty"`
	Status     int         `json:"status"`
	AnsweredBy string      `json:"answered_by"`
	Duration   int64       `json:"duration_us"`
	Upstream   int64       `json:"upstream_us,omitempty"`
	Error      string      `json:"error,omitempty"`
	Hooks      []hookEvent `json:"hooks"`
	Reply      replyEvent  `json:"reply"`
}

type replyEvent struct {
	Status  int     `json:"status"`
	Headers []field `json:"headers"`        // in their order
	Body    *string `json:"body,omitempty"` // as far as a hook, or the gateway, has it
}

type field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type hookEvent struct {
	Name     string           `json:"name"`
	Phase    sdk.Phase        `json:"phase"`
	Outcome  string           `json:"outcome"`
	Called   bool             `json:"called"`
	Duration int64            `json:"duration_us"`
	Changes  []display.Change `json:"changes"`
	Log      []lineEvent      `json:"log,omitempty"`
	Counts   map[string]int64 `json:"counters,omitempty"`
	Refusal  *refusalEvent    `json:"refusal,omitempty"`
	Error    string           `json:"error,omitempty"`

	failed bool
}

type lineEvent struct {
	Level   slog.Level `json:"level"`
	Message string     `json:"message"`
}

// refusalEvent is the error reply that a hook asked for.
type refusalEvent struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// exchangeOf makes an event of what became of an exchange. Hooks of other servers than the plugin are left out.
func exchangeOf(e *observe.Explained, plugin string) exchangeEvent {
	r := e.Record
	out := exchangeEvent{
		Event: "exchange", Time: r.Time, RequestID: r.RequestID, Client: r.Client.Addr().String(), Method: r.Method, Path: r.Path,
		Query: r.Query, Status: r.Status, AnsweredBy: r.AnsweredBy, Duration: r.Duration.Microseconds(),
		Upstream: r.Upstream.Microseconds(), Error: r.Error, Hooks: []hookEvent{},
		Reply: replyEvent{Status: e.Reply.Response.Status, Headers: []field{}},
	}
	for _, f := range e.Reply.Response.Header {
		out.Reply.Headers = append(out.Reply.Headers, field(f))
	}
	if body := e.Reply.Response.Body; body != nil {
		text := string(body)
		out.Reply.Body = &text
	}
	for i := range e.Hooks {
		if h := &e.Hooks[i]; h.Server == plugin {
			out.Hooks = append(out.Hooks, hookOf(h))
		}
	}
	return out
}

func hookOf(h *observe.ExplainedHook) hookEvent {
	out := hookEvent{
		Name: h.Name, Phase: h.Phase, Outcome: h.Outcome.String(), Called: h.Called, Duration: h.Duration.Microseconds(),
		Changes: display.Changes(&h.Before, &h.After), Counts: h.Counts,
	}
	if out.Changes == nil {
		out.Changes = []display.Change{}
	}
	for _, l := range h.Log {
		out.Log = append(out.Log, lineEvent(l))
	}
	var refusal *sdk.Error
	switch {
	case errors.As(h.Err, &refusal):
		out.Refusal = &refusalEvent{refusal.Status, refusal.Message}
		if refusal.Err != nil {
			out.Error = refusal.Err.Error()
		}
	case h.Err != nil:
		out.Error = h.Err.Error()
		out.failed = h.Outcome != sdk.OutcomeCanceled
	}
	return out
}

// logOf makes an event of a line of the gateway's log; false: others tell of it.
func logOf(line []byte) (logEvent, bool) {
	e := logEvent{Event: "log"}
	if err := json.Unmarshal(line, &e.Fields); err != nil {
		e.Level, e.Message = "WARN", string(line)
		return e, true
	}
	e.Level, _ = e.Fields[slog.LevelKey].(string)
	e.Message, _ = e.Fields[slog.MessageKey].(string)
	for _, key := range []string{slog.LevelKey, slog.MessageKey, slog.TimeKey} {
		delete(e.Fields, key)
	}
	_, ofHook := e.Fields["hook"]
	_, ofExchange := e.Fields["request_id"]
	switch e.Message {
	case "serving", "stopping", "draining", "stopped", "reloaded", "plugin server changed":
		return e, false
	}
	return e, (!ofHook || !ofExchange) && !strings.HasPrefix(e.Message, "reload: ") && !strings.HasPrefix(e.Message, "for development: ")
}
