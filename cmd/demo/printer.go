package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// printer is what the demo looks like: in colour on a terminal, unless NO_COLOR is set.
type printer struct {
	w      io.Writer
	colour bool
}

func newPrinter(w io.Writer) *printer {
	p := &printer{w: w}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		p.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// The select-graphic-rendition codes in use (ECMA-48 §8.3.117).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (p *printer) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// started says that a part of the demo runs.
func (p *printer) started(name, where string, took time.Duration) {
	ready := ""
	if took > 0 {
		ready = p.paint(dim, "  ready in "+took.Round(time.Millisecond).String())
	}
	fmt.Fprintf(p.w, "%-14s %s%s\n", name, where, ready)
}

func (p *printer) note(text string) { fmt.Fprintf(p.w, "\n%s\n", p.paint(dim, "… "+text)) }

// step shows a step: its request as a curl line, its reply the way curl -i does, and whether that is right.
func (p *printer) step(ctx context.Context, number int, s step, base string) error {
	fmt.Fprintf(p.w, "\n%s\n%s\n\n", p.paint(bold, fmt.Sprintf("%d. %s", number, s.title)), p.paint(dim, "   "+s.why))
	fmt.Fprintf(p.w, "$ %s\n", p.paint(cyan, s.curl(base)))
	reply, body, err := s.ask(ctx, base)
	if err != nil {
		return err
	}
	err = s.check(reply, body)
	mark := p.paint(green, "✓")
	if err != nil {
		mark = p.paint(red, "✗")
	}
	fmt.Fprintf(p.w, "%s %s\n", p.paint(bold, reply.Proto+" "+reply.Status), mark)
	p.header(reply.Header)
	fmt.Fprintf(p.w, "\n%s\n", strings.TrimSpace(body))
	return err
}

func (p *printer) header(h http.Header) {
	var names []string
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			fmt.Fprintf(p.w, "%s\n", p.paint(dim, name+": "+value))
		}
	}
}

func (p *printer) done(steps int, recovered time.Duration) {
	fmt.Fprintf(p.w, "\n%s all %d replies are right; the first is right again %s after the plugin server came back\n",
		p.paint(green, "✓"), steps, recovered.Round(time.Millisecond))
}

func (p *printer) serving(base, dir string) {
	fmt.Fprintf(p.w, "\n%s\n%s\n", p.paint(bold, "Serving on "+base+" until Ctrl-C: try the curl lines above."),
		p.paint(dim, "The definition (change it: it is read again at once) and the logs are in "+dir))
}
