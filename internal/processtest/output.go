package processtest

import (
	"bytes"
	"regexp"
	"sync"
)

// Output gathers what a process writes and lets others wait for it. It may be used concurrently. Make it with NewOutput.
type Output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

// NewOutput returns an Output that holds nothing yet.
func NewOutput() *Output { return &Output{more: make(chan struct{})} }

// Write keeps p. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(p)
}

// String returns all that was written.
func (o *Output) String() string {
	text, _ := o.now()
	return text
}

// now returns all that was written, and a channel that is closed when there is more.
func (o *Output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

// crashes are lines that a Go program writes when it has gone wrong in a way that its exit status may not tell.
var crashes = regexp.MustCompile(`^(?:panic:|fatal error:|WARNING: DATA RACE|.*http: panic serving|.*msg=.*panic).*$`)
