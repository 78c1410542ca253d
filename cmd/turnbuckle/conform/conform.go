// Package conform is `turnbuckle plugin conform`: it holds a plugin server to proto/PROTOCOL.md.
//
// There are two kinds of cases. Those of packages frames and unary speak to the server frame by frame and call by call, as no
// well-behaved host would, and look at what comes back. Those of package effects call the hooks of proto/CONFORMANCE.md through
// the gateway's own runtime, and compare what they did to an exchange with what the hooks of package conformance, in Go, do to
// it directly. A server without these hooks is held to the first kind alone, as far as those need no hook.
package conform

import (
	"context"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/effects"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/frames"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/unary"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Options say what to look at.
type Options struct {
	kit.Options
	Protocol string // native, tyk or empty for what the server speaks
	Run      string // only cases whose id has this in it
	Quick    bool   // leave out the cases that take many seconds whatever the server does
}

func cases() []kit.Case { return slices.Concat(frames.Cases(), effects.Cases(), unary.Cases()) }

// Run looks at a server. An error means that there was no server to look at.
func Run(ctx context.Context, o Options) (*report.Report, error) {
	s, err := kit.Open(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	r := &report.Report{
		Target: s.Name, Protocols: s.Protocols(), Handshake: s.Handshake(), MutualTLS: s.Handshake() && s.At.TLS != nil,
		Hooks: s.Has(conformance.Hook),
	}
	if s.About != nil {
		r.Name, r.Version = s.About.Name, s.About.Version
	}
	type job struct {
		found chan report.Finding
		is    kit.Case
	}
	var jobs []job
	for _, c := range cases() {
		if o.Run != "" && !strings.Contains(c.ID, o.Run) || o.Quick && c.Slow || o.Protocol != "" && c.Protocol != report.Both && c.Protocol != o.Protocol {
			continue
		}
		j := job{make(chan report.Finding, 1), c}
		if c.Slow {
			go func() { j.found <- s.Look(ctx, c) }()
		}
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		if !j.is.Slow {
			j.found <- s.Look(ctx, j.is)
		}
	}
	for _, j := range jobs {
		r.Add(<-j.found)
	}
	if err := s.Close(ctx); err != nil {
		r.Add(report.Finding{
			ID: "server/end", Protocol: report.Both, Section: "1.7", Title: "the server ends when it is told to", Result: report.Fail,
			Details: []string{err.Error()},
		})
	}
	return r, ctx.Err()
}
