package display

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// A Colour is how a terminal is told to show a line; the empty one leaves it as it is.
type Colour string

// The colours.
const (
	Red    Colour = "\x1b[31m"
	Green  Colour = "\x1b[32m"
	Yellow Colour = "\x1b[33m"
	Dim    Colour = "\x1b[2m"
	Bold   Colour = "\x1b[1m"

	plain = "\x1b[0m"
)

// maxShown is how many bytes of one value are shown.
const maxShown = 1000

// Printer writes lines, in colours where they go to a terminal and NO_COLOR is not set. After the first line that cannot be
// written it writes none.
type Printer struct {
	w       io.Writer
	colours bool
	err     error
}

// NewPrinter returns a printer to w.
func NewPrinter(w io.Writer) *Printer {
	return &Printer{w: w, colours: IsTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

// Err is why a line could not be written; nil when all were.
func (p *Printer) Err() error { return p.err }

// Line writes one line.
func (p *Printer) Line(c Colour, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.colours && c != "" {
		text = string(c) + text + plain
	}
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, text)
	}
}

// Block writes text behind a head; lines after its first stand below it. Of long text it writes the beginning.
func (p *Printer) Block(c Colour, head, text string) {
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + fmt.Sprintf("… (%d bytes in all)", len(text))
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(head))
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i > 0 {
			head = indent
		}
		p.Line(c, "%s%s", head, Clean(l))
	}
}

// Changes writes changes, each with what was before and what is after, indented.
func (p *Printer) Changes(indent string, all []Change) {
	for _, c := range all {
		title := c.What
		if c.Name != "" {
			title += " " + Clean(c.Name)
		}
		for _, v := range c.Before {
			p.Block(Red, indent+"- "+title+": ", v)
		}
		for _, v := range c.After {
			p.Block(Green, indent+"+ "+title+": ", v)
		}
	}
}

// Clean takes out what would do something to a terminal: others chose these texts.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) || r == '\t' {
			return r
		}
		return '?'
	}, text)
}

// IsTerminal reports whether what is written to w is seen on a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
