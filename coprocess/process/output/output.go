// Package output reads what plugin servers write to their standard streams: in lines of bounded length, at a bounded
// rate, and keeping the last of them for the day of the crash.
package output

import (
	"io"
	"sync"
	"time"
	"unicode/utf8"
)

// Options bound what is read. All have defaults.
type Options struct {
	Line int // bytes of a line that are kept; default 8 KiB
	Rate int // bytes per second that are handed on; default 1 MiB
	Keep int // lines kept; default 50
	// Take gets each line that is not over the rate, without its end, control characters escaped. It is called by one
	// goroutine at a time. Default: dropped.
	Take func(stream, line string)
}

func (o Options) withDefaults() Options {
	if o.Line <= 0 {
		o.Line = 8 << 10
	}
	if o.Rate <= 0 {
		o.Rate = 1 << 20
	}
	o.Rate = min(o.Rate, mostRate)
	if o.Keep <= 0 {
		o.Keep = 50
	}
	if o.Take == nil {
		o.Take = func(string, string) {}
	}
	return o
}

// Counts are of what was read.
type Counts struct {
	Lines   uint64 `json:"lines"`   // handed on
	Dropped uint64 `json:"dropped"` // over the rate
}

// Output is what one plugin server writes, on all its streams. It is safe for concurrent use.
type Output struct {
	o Options

	mu     sync.Mutex
	last   []string // a ring
	next   int
	room   int // bytes that may still be handed on
	filled time.Time
	counts Counts
}

// New returns an output that has read nothing.
func New(o Options) *Output {
	o = o.withDefaults()
	return &Output{o: o, room: o.Rate, filled: time.Now()}
}

// Tail returns the last lines, oldest first.
func (o *Output) Tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := make([]string, 0, len(o.last))
	for i := range o.last {
		tail = append(tail, o.last[(o.next+i)%len(o.last)])
	}
	return tail
}

// Counts returns how much was read.
func (o *Output) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts
}

// A stream is read in pieces, and not faster than this many times the rate: whoever writes more waits. Reading is to
// cost the reader little, whatever is written.
const (
	piece  = 16 << 10
	faster = 8

	mostRate  = 1 << 40                // beyond it there is nothing to bound
	mostPause = 250 * time.Millisecond // so that the end of a stream is not waited for, however low the rate
)

// Read reads a stream to its end, or until reading fails. Each line goes to peek first, if that is not nil and as it is;
// one that it takes goes nowhere else.
func (o *Output) Read(stream string, r io.Reader, peek func(line string) bool) {
	s := o.Stream(stream, peek)
	defer s.Close()
	buf := make([]byte, piece)
	pause := min(time.Duration(len(buf))*time.Second/time.Duration(o.o.Rate*faster), mostPause)
	for {
		n, err := r.Read(buf)
		_, _ = s.Write(buf[:n]) // never fails
		if err != nil {
			return
		}
		if n == len(buf) {
			time.Sleep(pause)
		}
	}
}

// Stream returns a writer for what comes on a stream in another way. It is used by one goroutine at a time; Close ends
// the last line.
func (o *Output) Stream(stream string, peek func(line string) bool) io.WriteCloser {
	return &splitter{o: o, stream: stream, peek: peek}
}

// splitter makes lines of what is written to it.
type splitter struct {
	o      *Output
	stream string
	peek   func(string) bool
	line   []byte
	cut    bool // the line was longer
}

func (s *splitter) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n':
			s.flush()
		case len(s.line) < s.o.o.Line:
			s.line = append(s.line, c)
		default:
			s.cut = true
		}
	}
	return len(p), nil
}

func (s *splitter) Close() error {
	if len(s.line) > 0 {
		s.flush()
	}
	return nil
}

func (s *splitter) flush() {
	if n := len(s.line); n > 0 && s.line[n-1] == '\r' {
		s.line = s.line[:n-1]
	}
	if s.peek == nil || !s.peek(string(s.line)) {
		text := escape(s.line)
		if s.cut {
			text += "…"
		}
		s.o.take(s.stream, text)
	}
	s.line, s.cut = s.line[:0], false
}

// take keeps a line, and hands it on if the rate allows.
func (o *Output) take(stream, line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) < o.o.Keep {
		o.last = append(o.last, line)
	} else {
		o.last[o.next] = line
		o.next = (o.next + 1) % len(o.last)
	}
	now := time.Now()
	if since := now.Sub(o.filled); since > 0 {
		o.room = min(o.o.Rate, o.room+int(float64(o.o.Rate)*min(since.Seconds(), 1)))
		o.filled = now
	}
	if o.room <= 0 {
		o.counts.Dropped++
		return
	}
	o.room -= len(line) + 1
	o.counts.Lines++
	o.o.Take(stream, line)
}

// escape writes control characters, and what is not UTF-8, in a way that a terminal and a log can bear.
func escape(line []byte) string {
	plain := true
	for _, c := range line {
		if c < ' ' && c != '\t' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return string(line)
	}
	const hex = "0123456789abcdef"
	var b []byte
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t', r == 0x7f:
			b = append(b, '\\', 'x', hex[line[0]>>4], hex[line[0]&15])
		case r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			for _, c := range line[:n] { // what ends lines or turns them round elsewhere
				b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			}
		default:
			b = append(b, line[:n]...)
		}
		line = line[n:]
	}
	return string(b)
}
