package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a Problem means for its file.
type Severity int

// The severities, the worst first.
const (
	// Error refuses the file.
	Error Severity = iota
	// Warning is probably a mistake; the file is used.
	Warning
	// Ignored names a field that is known and has no effect here.
	Ignored
)

// String returns "error", "warning" or "ignored".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Ignored:
		return "ignored"
	}
	return fmt.Sprintf("severity(%d)", int(s))
}

// MarshalText writes what String returns.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Problem is one thing that is wrong, or worth saying, about a file.
type Problem struct {
	// File is the file, or what else the value came from ("environment variable X").
	File string `json:"file,omitempty"`
	// Line and Col count from 1, Col in bytes; 0 means not known.
	Line int `json:"line,omitempty"`
	Col  int `json:"col,omitempty"`
	// Path is a JSON path such as $.listen.path; empty for the file as a whole.
	Path     string   `json:"path,omitempty"`
	Severity Severity `json:"severity"`
	// Message says what is wrong, in lower case, without the place.
	Message string `json:"message"`
	// Hint says what to do about it, if there is more to say.
	Hint string `json:"hint,omitempty"`
}

// Error writes "file:line:col: path: message (hint)".
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems are all problems of one or more files.
type Problems []Problem

// Refused reports whether any problem is an error.
func (ps Problems) Refused() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}

// Of returns the problems of one severity.
func (ps Problems) Of(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// And adds the problems of more, apart from those at places where ps has an error: what is wrong
// with a value that could not be read is no news.
func (ps Problems) And(more Problems) Problems {
	type place struct {
		file, path string
		line, col  int
	}
	known := map[place]bool{}
	for _, p := range ps.Of(Error) {
		// The root is also where missing things are reported, each of which is news.
		known[place{p.File, p.Path, p.Line, p.Col}] = p.Path != "$"
	}
	for _, p := range more {
		if !known[place{p.File, p.Path, p.Line, p.Col}] {
			ps = append(ps, p)
		}
	}
	return ps
}

// Err returns nil when no problem is an error, and otherwise an error that lists those that are.
func (ps Problems) Err() error {
	if !ps.Refused() {
		return nil
	}
	return problemsError(ps.Of(Error))
}

type problemsError Problems

func (ps problemsError) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each Problem to errors.As.
func (ps problemsError) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// Sort orders problems by file, then by place, and removes doubles.
func (ps Problems) Sort() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(ps)
}
