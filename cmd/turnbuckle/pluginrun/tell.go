package pluginrun

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/display"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// teller writes what happens, for people or as JSON. It is safe for concurrent use.
type teller struct {
	mu     sync.Mutex
	w      io.Writer
	p      *display.Printer
	json   bool
	broken error // why a line could not be written
	bad    bool  // a hook failed

	plugin string // its name
	hide   *strings.Replacer
	gone   chan struct{} // closed when the plugin's process has ended too often
	ended  bool          // gone is closed
	seen   chan struct{} // closed after the first exchange
	count  int
	more   chan struct{} // closed and replaced after each
}

func newTeller(w io.Writer, asJSON bool) *teller {
	return &teller{
		w: w, p: display.NewPrinter(w), json: asJSON, hide: strings.NewReplacer(), seen: make(chan struct{}), gone: make(chan struct{}), more: make(chan struct{}),
	}
}

// err is why not everything could be told.
func (t *teller) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return t.broken
	}
	return t.p.Err()
}

// failed reports whether a hook has failed.
func (t *teller) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bad
}

// exchanges returns how many were told of, and a channel that is closed when there are more.
func (t *teller) exchanges() (int, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.more
}

// tell writes an event, in JSON or as show does.
func (t *teller) tell(event any, show func(p *display.Printer)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.json {
		show(t.p)
		return
	}
	line, err := json.Marshal(event)
	if err == nil && t.broken == nil {
		_, err = t.w.Write(append(line, '\n'))
	}
	if t.broken == nil {
		t.broken = err
	}
}

// Explain implements [observe.Explainer].
func (t *teller) Explain(e *observe.Explained) {
	event := exchangeOf(e, t.plugin)
	t.tell(event, func(p *display.Printer) { showExchange(p, &event) })
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range event.Hooks {
		t.bad = t.bad || event.Hooks[i].failed
	}
	if t.count++; t.count == 1 {
		close(t.seen)
	}
	close(t.more)
	t.more = make(chan struct{})
}

var _ observe.Explainer = (*teller)(nil)

// Write takes a line of the gateway's log.
func (t *teller) Write(line []byte) (int, error) {
	event, wanted := logOf([]byte(t.hide.Replace(strings.TrimSuffix(string(line), "\n"))))
	if wanted {
		t.tell(event, func(p *display.Printer) { showLog(p, &event) })
	}
	if event.Message == "plugin server is in quarantine" {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.ended {
			t.ended = true
			close(t.gone)
		}
	}
	return len(line), nil
}

func (t *teller) serving(e *servingEvent) {
	t.tell(e, func(p *display.Printer) {
		p.Line(display.Bold, "%s %s  %s", e.Plugin, e.Version, e.Folder)
		last, names := "", []string(nil)
		flush := func() {
			if last != "" {
				p.Line("", "  %-13s %s", last, strings.Join(names, ", "))
			}
		}
		for _, h := range e.Hooks {
			if h.Phase != last {
				flush()
				last, names = h.Phase, nil
			}
			names = append(names, h.Name)
		}
		flush()
		if e.Open {
			p.Line(display.Dim, "  no hook of auth: everybody is let in")
		}
		what := ""
		if e.Sample {
			what = "  (replies with the request)"
		}
		p.Line("", "  %-13s %s%s", "upstream", e.Upstream, what)
		p.Line("", "  %-13s %s", "gateway", e.Gateway)
		p.Line(display.Dim, "try: curl -i %s/orders", e.Gateway)
	})
}

func (t *teller) built(e *buildEvent) {
	t.tell(e, func(p *display.Printer) {
		command := strings.Join(e.Command, " ")
		if e.OK {
			p.Line(display.Dim, "%s built in %s: %s", now(), millis(e.Duration), command)
			return
		}
		p.Line(display.Red, "%s build failed (%s): %s", now(), e.Error, command)
		p.Block("", "  ", e.Output)
	})
}

func (t *teller) changed(e *changeEvent) {
	t.tell(e, func(p *display.Printer) {
		files := strings.Join(e.Files[:min(3, len(e.Files))], ", ")
		if more := len(e.Files) - 3; more > 0 {
			files += fmt.Sprintf(" and %d more", more)
		}
		if e.Error != "" {
			p.Line(display.Red, "%s %s changed, and what ran before goes on:", now(), display.Clean(files))
			p.Block(display.Red, "  ", e.Error)
			return
		}
		p.Line(display.Dim, "%s %s changed: %s in %s", now(), display.Clean(files), e.Did, millis(e.Duration))
	})
}

func now() string { return time.Now().Format(time.TimeOnly) }

func millis(ms int64) string { return fmt.Sprintf("%d ms", ms) }

func micros(us int64) string {
	if us < 1000 {
		return fmt.Sprintf("%d µs", us)
	}
	return fmt.Sprintf("%.1f ms", float64(us)/1000)
}

func showLog(p *display.Printer, e *logEvent) {
	if line, ok := e.Fields["line"].(string); ok && e.Message == "plugin output" {
		p.Block(display.Dim, "  | ", line)
		return
	}
	colour := map[string]display.Colour{"ERROR": display.Red, "WARN": display.Yellow}[e.Level]
	if colour == "" {
		colour = display.Dim
	}
	head := now() + " "
	p.Block(colour, head, e.Message)
	for _, key := range slices.Sorted(maps.Keys(e.Fields)) {
		switch v := e.Fields[key].(type) {
		case string:
			if key != "plugin_server" { // there is one
				p.Block(colour, "  "+key+": ", v)
			}
		case float64:
			if key == "took" || key == "in" {
				p.Line(colour, "  %s: %s", key, time.Duration(v).Round(time.Millisecond))
			} else if key != "instance" && key != "pid" {
				p.Line(colour, "  %s: %v", display.Clean(key), v)
			}
		case []any: // what the process wrote last, which has been shown
		default:
			p.Block(colour, "  "+key+": ", fmt.Sprint(v))
		}
	}
}

func showExchange(p *display.Printer, e *exchangeEvent) {
	colour := display.Bold
	if e.Status >= 500 {
		colour = display.Red
	}
	target := e.Path
	if e.Query != "" {
		target += "?" + e.Query
	}
	p.Line("", "")
	p.Line(colour, "%s %s %s → %d in %s, by %s", e.Time.Format(time.TimeOnly), display.Clean(e.Method), display.Clean(target), e.Status, micros(e.Duration), display.Clean(e.AnsweredBy))
	wide := 0
	for i := range e.Hooks {
		wide = max(wide, len(e.Hooks[i].Name))
	}
	for i := range e.Hooks {
		showHook(p, &e.Hooks[i], wide)
	}
	if len(e.Hooks) == 0 {
		p.Line(display.Yellow, "  no hook was called")
	}
	if e.Error != "" && (len(e.Hooks) == 0 || e.Hooks[len(e.Hooks)-1].Error == "") {
		p.Block(display.Red, "  ", e.Error)
	}
}

func showHook(p *display.Printer, h *hookEvent, wide int) {
	colour := display.Colour("")
	outcome := h.Outcome
	switch {
	case h.failed:
		colour = display.Red
	case h.Outcome != "ok":
		colour = display.Yellow
	}
	if h.Refusal != nil {
		outcome = fmt.Sprintf("%s %d", outcome, h.Refusal.Status)
	}
	p.Line(colour, "  %-13s  %-*s  %-12s %s", h.Phase, wide, display.Clean(h.Name), outcome, micros(h.Duration))
	for _, l := range h.Log {
		p.Block("", fmt.Sprintf("      %-5s ", strings.ToLower(l.Level.String())), l.Message)
	}
	for _, name := range slices.Sorted(maps.Keys(h.Counts)) {
		p.Line("", "      count %s %+d", display.Clean(name), h.Counts[name])
	}
	p.Changes("      ", h.Changes)
	if h.Refusal != nil {
		p.Block(display.Yellow, "      message: ", h.Refusal.Message)
	}
	if h.Error != "" {
		p.Block(display.Red, "      ", h.Error)
	}
}

// note tells something of the run's own.
func (t *teller) note(level, message string) {
	e := &logEvent{Event: "log", Level: level, Message: message}
	t.tell(e, func(p *display.Printer) { showLog(p, e) })
}
