// Package archive writes organisations, API definitions, policies and keys into one stream, and restores them from it
// under the same ids.
//
// An archive is UTF-8 text, a JSON object a line: a header that names the version of the format, one line for each thing,
// and an end that counts them, so that an archive that was cut short is known as such. It holds secrets: passwords' hashes,
// HMAC secrets, whatever stands in definitions, and tokens themselves where ids are not hashed.
package archive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Version of the format. A reader takes archives of its own version alone.
const Version = 1

// maxLine bounds a line: a definition of 4 MiB, escaped.
const maxLine = 16 << 20

// ErrFormat says that what was read is no archive, of another version or damaged; the text says where and why.
var ErrFormat = errors.New("not an archive that can be read")

// Header is the first line.
type Header struct {
	Version int       `json:"turnbuckle_archive"`
	Created time.Time `json:"created"`
	// Hashes are the functions that ids of keys may have been made with.
	Hashes []string `json:"hashes"`
}

// Kind is what a line holds.
type Kind string

// The kinds. A line of KindEnd is the last.
const (
	KindOrg    Kind = "org"
	KindAPI    Kind = "api"
	KindPolicy Kind = "policy"
	KindKey    Kind = "key"
	KindEnd    Kind = "end"
)

// Record is a line after the first. Which fields it has hangs on its kind.
type Record struct {
	Kind    Kind            `json:"kind"`
	ID      string          `json:"id,omitempty"`
	Org     string          `json:"org,omitempty"`     // of a policy
	File    string          `json:"file,omitempty"`    // of an API, its base name
	Text    string          `json:"text,omitempty"`    // of that file
	Policy  json.RawMessage `json:"policy,omitempty"`  // of a policy
	Session json.RawMessage `json:"session,omitempty"` // of a key or an organisation
	Expires time.Time       `json:"expires,omitzero"`  // when a key is forgotten; never without
	Counts  *Counts         `json:"counts,omitempty"`  // of the end
}

// Counts are how many of each there are.
type Counts struct {
	Orgs     int `json:"orgs"`
	APIs     int `json:"apis"`
	Policies int `json:"policies"`
	Keys     int `json:"keys"`
	// Unreadable counts what could not be written, since it is stored in no form that can be read.
	Unreadable int `json:"unreadable,omitempty"`
}

// Add counts one of a kind.
func (c *Counts) Add(k Kind) {
	switch k {
	case KindOrg:
		c.Orgs++
	case KindAPI:
		c.APIs++
	case KindPolicy:
		c.Policies++
	case KindKey:
		c.Keys++
	}
}

// Writer writes an archive. It is for one goroutine.
type Writer struct {
	buffer *bufio.Writer
	lines  *json.Encoder
	counts Counts
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	buffer := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(buffer)
	lines.SetEscapeHTML(false)
	h.Version = Version
	if err := lines.Encode(h); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return &Writer{buffer: buffer, lines: lines}, nil
}

// Put writes a line.
func (w *Writer) Put(r Record) error {
	if err := w.lines.Encode(r); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	w.counts.Add(r.Kind)
	return nil
}

// Close writes the end, and what is buffered. It leaves the underlying writer open.
func (w *Writer) Close() (Counts, error) {
	if err := w.lines.Encode(Record{Kind: KindEnd, Counts: &w.counts}); err != nil {
		return w.counts, fmt.Errorf("archive: %w", err)
	}
	if err := w.buffer.Flush(); err != nil {
		return w.counts, fmt.Errorf("archive: %w", err)
	}
	return w.counts, nil
}

// Reader reads an archive. It is for one goroutine.
type Reader struct {
	Header Header
	lines  *bufio.Scanner
	line   int
	counts Counts
	ended  bool
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	a := &Reader{lines: bufio.NewScanner(r)}
	a.lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	text, err := a.next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: it is empty", ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	var probe struct {
		Version *int `json:"turnbuckle_archive"`
	}
	switch err := json.Unmarshal(text, &probe); {
	case err != nil || probe.Version == nil:
		return nil, fmt.Errorf("%w: it does not begin with the header that turnbuckle export writes", ErrFormat)
	case *probe.Version != Version:
		return nil, fmt.Errorf("%w: its version is %d and this gateway's %d", ErrFormat, *probe.Version, Version)
	}
	return a, a.decode(text, &a.Header)
}

// Next returns the next line, io.EOF after the end. A line that is no record, and an archive that breaks off, is ErrFormat.
func (a *Reader) Next() (Record, error) {
	text, err := a.next()
	switch {
	case errors.Is(err, io.EOF) && !a.ended:
		return Record{}, fmt.Errorf("%w: it breaks off after line %d: export it again", ErrFormat, a.line)
	case err != nil:
		return Record{}, err
	case a.ended:
		return Record{}, fmt.Errorf("%w: line %d comes after the end", ErrFormat, a.line)
	}
	var r Record
	if err := a.decode(text, &r); err != nil {
		return Record{}, err
	}
	switch r.Kind {
	case KindOrg, KindAPI, KindPolicy, KindKey:
		a.counts.Add(r.Kind)
		return r, nil
	case KindEnd:
		said := Counts{}
		if r.Counts != nil {
			said = *r.Counts
		}
		left := said.Unreadable
		if said.Unreadable = 0; said != a.counts {
			return Record{}, fmt.Errorf("%w: it counts %+v and has %+v: lines are missing or were added", ErrFormat, said, a.counts)
		}
		a.ended, a.counts.Unreadable = true, left
		return a.Next() // what comes after the end is no part of it
	}
	return Record{}, fmt.Errorf("%w: line %d: kind %.20q is none of org, api, policy, key and end", ErrFormat, a.line, r.Kind)
}

// Counts are what has been read, after the end what the archive says of itself.
func (a *Reader) Counts() Counts { return a.counts }

// Line is the number of the line that was read last, from 1.
func (a *Reader) Line() int { return a.line }

func (a *Reader) next() ([]byte, error) {
	for a.lines.Scan() {
		a.line++
		if text := bytes.TrimSpace(a.lines.Bytes()); len(text) > 0 {
			return text, nil
		}
	}
	switch err := a.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%w: line %d has more than %d bytes", ErrFormat, a.line+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("archive: %w", err)
	}
	return nil, io.EOF
}

// decode is strict: what it does not know it would lose.
func (a *Reader) decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: line %d: %s", ErrFormat, a.line, withoutValue(err))
	}
	if d.More() {
		return fmt.Errorf("%w: line %d: more than one value", ErrFormat, a.line)
	}
	return nil
}

// withoutValue says what is wrong without a value, which may be a secret.
func withoutValue(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("%s cannot be %.20s", kind.Field, kind.Value)
	case errors.As(err, &syntax):
		return fmt.Sprintf("not JSON at byte %d", syntax.Offset)
	}
	return fmt.Sprintf("%.80s", err)
}
