// Package conform is `turnbuckle plugin conform`: it holds a plugin server to proto/PROTOCOL.md.
//
// There are two kinds of cases. Some speak to the server frame by frame, as no well-behaved host would, and look at what comes
// back. The others call the hooks of proto/CONFORMANCE.md through the gateway's own runtime, and compare what they did to an
// exchange with what the hooks of package conformance, in Go, do to it directly. A server without these hooks is held to the
// first kind alone, as far as those need no hook.
package conform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Options say what to look at.
type Options struct {
	Address  string      // of a server that runs; empty: Command is started
	Command  []string    // program and arguments
	TLS      *tls.Config // nil: none
	Protocol string      // native, tyk or empty for what the server speaks
	Run      string      // only cases whose id has this in it
	Patience time.Duration
	Quick    bool // leave out the cases that take many seconds whatever the server does
}

// Result is how a case ended.
type Result string

// The results.
const (
	Pass Result = "pass"
	Fail Result = "fail" // what must hold does not
	Warn Result = "warn" // what should hold does not
	Skip Result = "skip"
)

// Finding is the result of one case.
type Finding struct {
	ID       string   `json:"id"`
	Protocol string   `json:"protocol"` // native, tyk, or both
	Section  string   `json:"section"`  // of PROTOCOL.md
	Title    string   `json:"title"`
	Result   Result   `json:"result"`
	Details  []string `json:"details,omitempty"`
	MS       int64    `json:"ms"`
}

// Report is what was found.
type Report struct {
	Target    string    `json:"target"`
	Name      string    `json:"name,omitempty"` // as the server calls itself
	Version   string    `json:"version,omitempty"`
	Protocols []string  `json:"protocols"`
	Hooks     bool      `json:"hooks"` // whether it has the hooks of CONFORMANCE.md
	Passed    int       `json:"passed"`
	Failed    int       `json:"failed"`
	Warned    int       `json:"warned"`
	Skipped   int       `json:"skipped"`
	Cases     []Finding `json:"cases"`
}

// The protocols as reports spell them.
const (
	native = "native"
	tyk    = "tyk"
	both   = "both"
)

// check is one case.
type check struct {
	id, protocol, section, title string
	hooks                        []string // of the server, that it needs
	slow                         bool     // takes many seconds, and runs beside the others
	run                          func(ctx context.Context, t *trial) error
}

// trial is a case under way. What run returns is a failure too: one after which there was nothing more to look at.
type trial struct {
	s        *subject
	protocol string
	failures []string
	warnings []string
	notes    []string
	skipped  string
}

// fail notes what must hold and does not.
func (t *trial) fail(format string, args ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

// warn notes what should hold and does not.
func (t *trial) warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

// note tells what is no complaint.
func (t *trial) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// errSkip ends a case that cannot be looked at.
var errSkip = errors.New("skipped")

func (t *trial) skip(format string, args ...any) error {
	t.skipped = fmt.Sprintf(format, args...)
	return errSkip
}

func checks() []check {
	return slices.Concat(describeChecks(), frameChecks(), streamChecks(), boundChecks(), callChecks(), effectChecks(), tykChecks(), serverChecks())
}

// Run looks at a server. An error means that there was no server to look at.
func Run(ctx context.Context, o Options) (*Report, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Report{Target: s.name, Protocols: s.protocols(), Hooks: s.has(conformance.Hook)}
	if s.about != nil {
		r.Name, r.Version = s.about.Name, s.about.Version
	}
	type job struct {
		found chan Finding
		check check
	}
	var jobs []job
	for _, c := range checks() {
		if o.Run != "" && !strings.Contains(c.id, o.Run) || o.Quick && c.slow || o.Protocol != "" && c.protocol != both && c.protocol != o.Protocol {
			continue
		}
		j := job{make(chan Finding, 1), c}
		if c.slow {
			go func() { j.found <- s.look(ctx, c) }()
		}
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		if !j.check.slow {
			j.found <- s.look(ctx, j.check)
		}
	}
	for _, j := range jobs {
		r.add(<-j.found)
	}
	if err := s.close(ctx); err != nil {
		r.add(Finding{ID: "server/end", Protocol: both, Section: "1.7", Title: "the server ends when it is told to", Result: Fail, Details: []string{err.Error()}})
	}
	return r, ctx.Err()
}

func (r *Report) add(f Finding) {
	r.Cases = append(r.Cases, f)
	switch f.Result {
	case Pass:
		r.Passed++
	case Fail:
		r.Failed++
	case Warn:
		r.Warned++
	case Skip:
		r.Skipped++
	}
}

// look runs one case.
func (s *subject) look(ctx context.Context, c check) Finding {
	f := Finding{ID: c.id, Protocol: c.protocol, Section: c.section, Title: c.title}
	t := &trial{s: s, protocol: c.protocol}
	if why := s.lacks(c); why != "" {
		f.Result, f.Details = Skip, []string{why}
		return f
	}
	limit := 4 * s.o.Patience
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err := c.run(ctx, t)
	f.MS = time.Since(began).Milliseconds()
	if err != nil && !errors.Is(err, errSkip) {
		t.fail("%v", err)
	}
	if text, ended := s.ended(); ended {
		t.fail("the server has ended: %s", text)
	}
	switch {
	case len(t.failures) > 0:
		f.Result = Fail
	case errors.Is(err, errSkip):
		f.Result, f.Details = Skip, []string{t.skipped}
		return f
	case len(t.warnings) > 0:
		f.Result = Warn
	default:
		f.Result = Pass
	}
	f.Details = slices.Concat(t.failures, t.warnings, t.notes)
	return f
}

// lacks says why a case cannot be looked at; "": it can.
func (s *subject) lacks(c check) string {
	if c.protocol != both && !slices.Contains(s.protocols(), c.protocol) {
		return "the server does not speak this protocol"
	}
	for _, name := range c.hooks {
		if !s.has(name) {
			return "the server has no hook " + name
		}
	}
	if text, ended := s.ended(); ended {
		return "the server has ended: " + text
	}
	return ""
}
