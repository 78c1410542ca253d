package plugintest

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/display"
)

// report is all that a run has found.
type report struct {
	Script    string    `json:"script"`
	Language  string    `json:"language"`
	Tyk       bool      `json:"tyk"`
	OK        bool      `json:"ok"`
	Exchanges []*result `json:"exchanges"`
}

func (r *report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

func (r *report) writeText(w io.Writer) error {
	p := &printer{display.NewPrinter(w)}
	bad := 0
	for _, e := range r.Exchanges {
		p.exchange(e)
		if !e.OK {
			bad++
		}
	}
	switch n := len(r.Exchanges); {
	case bad > 0:
		p.Line(display.Red, "%s: %d of %s failed", r.Script, bad, plural(n, "exchange"))
	default:
		p.Line(display.Green, "%s: %s, all as expected", r.Script, plural(n, "exchange"))
	}
	return p.Err()
}

// printer writes a report for people.
type printer struct{ *display.Printer }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// exchange writes a table of the hooks, what each did below its row.
func (p *printer) exchange(e *result) {
	p.Line(display.Bold, "%s: %s", display.Clean(e.Name), display.Clean(e.Request))
	widths := [3]int{len("HOOK"), len("PHASE"), len("OUTCOME")}
	rows := make([][4]string, len(e.Hooks))
	for i := range e.Hooks {
		rows[i] = row(&e.Hooks[i])
		for j := range widths {
			widths[j] = max(widths[j], utf8.RuneCountInString(rows[i][j]))
		}
	}
	write := func(colour display.Colour, r [4]string) {
		p.Line(colour, "%s", strings.TrimRight(fmt.Sprintf("  %-*s  %-*s  %-*s  %s", widths[0], r[0], widths[1], r[1], widths[2], r[2], r[3]), " "))
	}
	write(display.Dim, [4]string{"HOOK", "PHASE", "OUTCOME", "COST"})
	for i := range e.Hooks {
		write(map[string]display.Colour{failed: display.Red, refused: display.Yellow, answered: display.Yellow, notCalled: display.Dim}[e.Hooks[i].Outcome], rows[i])
		p.hook(&e.Hooks[i])
	}
	for _, f := range e.Failures {
		p.Line(display.Red, "  FAILED %s", display.Clean(f.What))
		p.Block(display.Green, "    want ", f.Want)
		p.Block(display.Red, "    got  ", f.Got)
	}
	p.Line("", "")
}

func row(h *hookResult) [4]string {
	r := [4]string{display.Clean(h.Hook), h.Phase.String(), h.Outcome, ""}
	if h.Refusal != nil {
		r[2] += " " + strconv.Itoa(h.Refusal.Status)
	}
	for _, c := range h.Changes {
		if h.Outcome == answered && c.What == "reply status" && len(c.After) > 0 {
			r[2] += " " + c.After[0]
		}
	}
	if h.Outcome != notCalled {
		r[3] = cost(h)
	}
	return r
}

// cost is the time and the memory that a hook took.
func cost(h *hookResult) string {
	time := fmt.Sprintf("%.1f µs", h.Microsecond)
	if h.Microsecond >= 1000 {
		time = fmt.Sprintf("%.1f ms", h.Microsecond/1000)
	}
	return fmt.Sprintf("%s, %d bytes in %s", time, h.Bytes, plural(int(h.Allocations), "allocation"))
}

func (p *printer) hook(h *hookResult) {
	for _, l := range h.Log {
		p.Block("", fmt.Sprintf("      %-5s ", strings.ToLower(l.Level.String())), l.Message)
	}
	for _, name := range sortedKeys(h.Counters) {
		p.Line("", "      count %s %+d", display.Clean(name), h.Counters[name])
	}
	p.Changes("      ", h.Changes)
	if r := h.Refusal; r != nil {
		p.Block(display.Yellow, "      message: ", r.Message)
		for _, f := range r.Headers {
			p.Block(display.Yellow, "      reply header "+f.Name+": ", f.Value)
		}
	}
	if h.Error != nil {
		p.Block(display.Red, "      ", h.Error.String())
		for call := range strings.SplitSeq(strings.TrimSpace(h.Error.Trace), "\n") {
			if call != "" {
				p.Line(display.Dim, "        in %s", display.Clean(call))
			}
		}
	}
	if h.Note != "" {
		p.Line(display.Yellow, "      note: %s", h.Note)
	}
}
