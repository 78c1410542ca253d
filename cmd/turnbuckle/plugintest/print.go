package plugintest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
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

// maxShown is how many bytes of one value are shown.
const maxShown = 1000

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// printer writes a report for people. Its error is the first of its writer.
type printer struct {
	w       io.Writer
	colours bool
	err     error
}

func (p *printer) line(colour, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.colours && colour != "" {
		text = colour + text + plain
	}
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, text)
	}
}

func (r *report) writeText(w io.Writer) error {
	p := &printer{w: w, colours: isTerminal(w)}
	bad := 0
	for _, e := range r.Exchanges {
		p.exchange(e)
		if !e.OK {
			bad++
		}
	}
	switch n := len(r.Exchanges); {
	case bad > 0:
		p.line(red, "%s: %d of %s failed", r.Script, bad, plural(n, "exchange"))
	default:
		p.line(green, "%s: %s, all as expected", r.Script, plural(n, "exchange"))
	}
	return p.err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// exchange writes a table of the hooks, what each did below its row.
func (p *printer) exchange(e *result) {
	p.line(bold, "%s: %s", clean(e.Name), clean(e.Request))
	widths := [3]int{len("HOOK"), len("PHASE"), len("OUTCOME")}
	rows := make([][4]string, len(e.Hooks))
	for i := range e.Hooks {
		rows[i] = row(&e.Hooks[i])
		for j := range widths {
			widths[j] = max(widths[j], utf8.RuneCountInString(rows[i][j]))
		}
	}
	write := func(colour string, r [4]string) {
		p.line(colour, "%s", strings.TrimRight(fmt.Sprintf("  %-*s  %-*s  %-*s  %s", widths[0], r[0], widths[1], r[1], widths[2], r[2], r[3]), " "))
	}
	write(dim, [4]string{"HOOK", "PHASE", "OUTCOME", "COST"})
	for i := range e.Hooks {
		write(map[string]string{failed: red, refused: yellow, answered: yellow, notCalled: dim}[e.Hooks[i].Outcome], rows[i])
		p.hook(&e.Hooks[i])
	}
	for _, f := range e.Failures {
		p.line(red, "  FAILED %s", clean(f.What))
		p.block(green, "    want ", f.Want)
		p.block(red, "    got  ", f.Got)
	}
	p.line("", "")
}

func row(h *hookResult) [4]string {
	r := [4]string{clean(h.Hook), h.Phase.String(), h.Outcome, ""}
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
		p.block("", fmt.Sprintf("      %-5s ", strings.ToLower(l.Level.String())), l.Message)
	}
	for _, name := range sortedKeys(h.Counters) {
		p.line("", "      count %s %+d", clean(name), h.Counters[name])
	}
	for _, c := range h.Changes {
		title := c.What
		if c.Name != "" {
			title += " " + clean(c.Name)
		}
		for _, v := range c.Before {
			p.block(red, "      - "+title+": ", v)
		}
		for _, v := range c.After {
			p.block(green, "      + "+title+": ", v)
		}
	}
	if r := h.Refusal; r != nil {
		p.block(yellow, "      message: ", r.Message)
		for _, f := range r.Headers {
			p.block(yellow, "      reply header "+f.Name+": ", f.Value)
		}
	}
	if h.Error != nil {
		p.block(red, "      ", h.Error.String())
		for call := range strings.SplitSeq(strings.TrimSpace(h.Error.Trace), "\n") {
			if call != "" {
				p.line(dim, "        in %s", clean(call))
			}
		}
	}
	if h.Note != "" {
		p.line(yellow, "      note: %s", h.Note)
	}
}

// block writes text behind a head; lines after its first stand below it.
func (p *printer) block(colour, head, text string) {
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + fmt.Sprintf("… (%d bytes in all)", len(text))
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(head))
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i > 0 {
			head = indent
		}
		p.line(colour, "%s%s", head, clean(l))
	}
}

// clean takes out what would do something to a terminal: others chose these texts.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) || r == '\t' {
			return r
		}
		return '?'
	}, text)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}
