// Package load asks one URL again and again over a number of keep-alive connections, and tells how fast the
// answers came. The generator of record is wrk, from Debian: it is other people's, takes about a quarter of the
// CPU of one in Go, so on two cores it leaves the gateway what it would have had, and its script interface gives
// exact counts and percentiles in microseconds. The one in Go stands in where wrk is not to be had.
package load

import (
	"context"
	"fmt"
	"time"
)

// Job is one run.
type Job struct {
	URL         string
	Connections int
	Duration    time.Duration
	Header      [][2]string // further request headers
	Numbered    Numbered
}

// Numbered is a header with another value in every request: Prefix, and one of Count numbers from First on, drawn at
// random. The zero value is none.
type Numbered struct {
	Name, Prefix string
	First, Count int
}

// Result is what a run measured.
type Result struct {
	Requests int64 // answered
	Errors   int64 // answered with a status of 400 or more, or not at all
	Elapsed  time.Duration
	P50, P99 time.Duration // of the time from request to whole reply
}

// PerSecond is the rate of answered requests.
func (r Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// A Generator runs jobs, one at a time. An error means that nothing could be measured; failed requests are counted.
type Generator func(context.Context, Job) (Result, error)

// Check turns a result that cannot be used into an error.
func (r Result) Check() error {
	switch {
	case r.Requests == 0:
		return fmt.Errorf("no request was answered")
	case r.Errors > 0:
		return fmt.Errorf("%d of %d requests failed", r.Errors, r.Requests)
	}
	return nil
}
