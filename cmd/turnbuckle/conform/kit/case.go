package kit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
)

// Case is one thing that a server is held to.
type Case struct {
	ID, Protocol, Section, Title string   // as findings have them
	Hooks                        []string // of the server, that it needs
	Slow                         bool     // takes many seconds, and runs beside the others
	Run                          func(ctx context.Context, t *Trial) error
}

// Trial is a case under way. What its Run returns is a failure too: one after which there was nothing more to look at.
type Trial struct {
	Subject  *Subject
	Protocol string

	failures []string
	warnings []string
	notes    []string
	skipped  string
}

// Fail notes what must hold and does not.
func (t *Trial) Fail(format string, args ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

// Warn notes what should hold and does not.
func (t *Trial) Warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

// Note tells what is no complaint.
func (t *Trial) Note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// errSkip ends a case that cannot be looked at.
var errSkip = errors.New("skipped")

// Skip returns the error that ends a case which cannot be looked at.
func (t *Trial) Skip(format string, args ...any) error {
	t.skipped = fmt.Sprintf(format, args...)
	return errSkip
}

// Adopt takes what a trial of another server found.
func (t *Trial) Adopt(other *Trial) {
	t.failures = append(t.failures, other.failures...)
	t.warnings = append(t.warnings, other.warnings...)
	t.notes = append(t.notes, other.notes...)
}

// Another starts the subject's command once more, for a case that ends it. Who calls stops the program.
func (t *Trial) Another(ctx context.Context) (*Trial, *Program, error) {
	s := t.Subject
	if s.program == nil {
		return nil, nil, t.Skip("the server was not started by the kit")
	}
	p, err := start(ctx, &s.Options)
	if err != nil {
		return nil, nil, err
	}
	own := *s
	own.At, own.program = p.at, nil
	return &Trial{Subject: &own, Protocol: t.Protocol}, p, nil
}

// Look runs one case.
func (s *Subject) Look(ctx context.Context, c Case) report.Finding {
	f := report.Finding{ID: c.ID, Protocol: c.Protocol, Section: c.Section, Title: c.Title}
	t := &Trial{Subject: s, Protocol: c.Protocol}
	if why := s.lacks(c); why != "" {
		f.Result, f.Details = report.Skip, []string{why}
		return f
	}
	limit := 4 * s.Options.Patience
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := c.Run(ctx, t)
	f.MS = time.Since(began).Milliseconds()
	if err != nil && !errors.Is(err, errSkip) {
		t.Fail("%v", err)
	}
	if text, ended := s.ended(); ended {
		t.Fail("the server has ended: %s", text)
	}
	switch {
	case len(t.failures) > 0:
		f.Result = report.Fail
	case errors.Is(err, errSkip):
		f.Result, f.Details = report.Skip, []string{t.skipped}
		return f
	case len(t.warnings) > 0:
		f.Result = report.Warn
	default:
		f.Result = report.Pass
	}
	f.Details = slices.Concat(t.failures, t.warnings, t.notes)
	return f
}

// lacks says why a case cannot be looked at; "": it can.
func (s *Subject) lacks(c Case) string {
	if c.Protocol != report.Both && !slices.Contains(s.Protocols(), c.Protocol) {
		return "the server does not speak this protocol"
	}
	for _, name := range c.Hooks {
		if !s.Has(name) {
			return "the server has no hook " + name
		}
	}
	if text, ended := s.ended(); ended {
		return "the server has ended: " + text
	}
	return ""
}
