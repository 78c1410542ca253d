// Package pattern matches Lua's patterns (Lua 5.1 reference manual §5.4.1) with a search that can be stopped. A pattern
// of a few bytes can search for longer than anybody waits; an interpreter's own matcher is a native function that nothing
// interrupts.
package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// What ends a search without a result, beside a malformed pattern.
var (
	ErrStopped = errors.New("search stopped")
	ErrComplex = errors.New("pattern too complex")
)

const (
	maxCaptures = 32
	maxDepth    = 500  // nested choices
	pollEvery   = 4096 // steps between two looks at Stop
)

// A capture's length while it is open, and of one that holds a position.
const (
	open     = -1
	position = -2
)

// Capture is a part of the subject, from byte Start to before End. At is a position capture: it holds no text but Start.
type Capture struct {
	Start, End int
	At         bool
}

// Matcher searches one subject for one pattern. The zero value with subject and pattern is ready; it is for one
// goroutine.
type Matcher struct {
	Subject, Pattern string
	// Stop is asked now and then whether to give up. nil: never.
	Stop func() bool

	level    int
	captures [maxCaptures]struct{ start, length int }
	depth    int
	steps    int
	err      error
}

// Find searches from byte init on for the first match. ok is false when there is none; then and on an error the other
// results mean nothing.
func (m *Matcher) Find(init int) (start, end int, ok bool, err error) {
	p := 0
	anchored := m.Anchored()
	if anchored {
		p = 1
	}
	for s := init; s <= len(m.Subject); s++ {
		if !anchored {
			s = m.Skip(s)
		}
		if end := m.at(s, p); end >= 0 {
			return s, end, true, nil
		}
		if m.err != nil || anchored {
			break
		}
	}
	return 0, 0, false, m.err
}

// Match matches at byte s and nowhere else; an anchor at the pattern's beginning is a character like others.
func (m *Matcher) Match(s int) (end int, ok bool, err error) {
	end = m.at(s, 0)
	return end, end >= 0, m.err
}

// Skip returns the first place from s on where a match can begin, by the pattern's first character where that says so;
// the subject's end when there is none.
func (m *Matcher) Skip(s int) int {
	if m.Pattern == "" || len(m.Pattern) > 1 && quantifier(m.Pattern[1]) || strings.IndexByte("%.[()$", m.Pattern[0]) >= 0 {
		return s
	}
	if at := strings.IndexByte(m.Subject[s:], m.Pattern[0]); at >= 0 {
		return s + at
	}
	return len(m.Subject)
}

// Anchored reports whether the pattern matches at the beginning only.
func (m *Matcher) Anchored() bool { return m.Pattern != "" && m.Pattern[0] == '^' }

// Captures returns how many captures the last match has.
func (m *Matcher) Captures() int { return m.level }

// Capture returns capture i, from 0, of the last match.
func (m *Matcher) Capture(i int) (Capture, error) {
	if i >= m.level {
		return Capture{}, fmt.Errorf("invalid capture index %d", i+1)
	}
	c := m.captures[i]
	switch c.length {
	case position:
		return Capture{Start: c.start, End: c.start, At: true}, nil
	case open:
		return Capture{}, errors.New("unfinished capture")
	}
	return Capture{Start: c.start, End: c.start + c.length}, nil
}

func (m *Matcher) at(s, p int) int {
	m.level, m.depth = 0, 0
	return m.match(s, p)
}

// fail notes the error that ends the whole search.
func (m *Matcher) fail(err error) int {
	if m.err == nil {
		m.err = err
	}
	return -1
}

// step counts the work done. It reports whether to go on.
func (m *Matcher) step() bool {
	if m.steps++; m.steps%pollEvery == 0 && m.Stop != nil && m.Stop() {
		m.fail(ErrStopped)
	}
	return m.err == nil
}

// match matches the pattern from p on against the subject at s. It returns where the match ends, or -1.
func (m *Matcher) match(s, p int) int {
	if m.depth++; m.depth > maxDepth {
		return m.fail(ErrComplex)
	}
	r := m.sequence(s, p)
	m.depth--
	return r
}

// sequence matches one item after the other.
func (m *Matcher) sequence(s, p int) int {
	for p < len(m.Pattern) {
		if !m.step() {
			return -1
		}
		switch {
		case m.Pattern[p] == '(':
			return m.begin(s, p)
		case m.Pattern[p] == ')':
			return m.finish(s, p+1)
		case m.Pattern[p] == '$' && p+1 == len(m.Pattern):
			if s == len(m.Subject) {
				return s
			}
			return -1
		}
		var special bool
		if s, p, special = m.special(s, p); special {
			if s < 0 {
				return -1
			}
			continue
		}
		end := m.itemEnd(p)
		if end < 0 {
			return -1
		}
		if end == len(m.Pattern) || !quantifier(m.Pattern[end]) {
			if !m.one(s, p, end) {
				return -1
			}
			s, p = s+1, end
			continue
		}
		return m.repeat(s, p, end)
	}
	return s
}

func quantifier(c byte) bool { return c == '*' || c == '+' || c == '-' || c == '?' }

// special matches what begins with a percent sign and is no class of characters: balance, frontier, back reference.
func (m *Matcher) special(s, p int) (nextS, nextP int, ok bool) {
	if m.Pattern[p] != '%' || p+1 >= len(m.Pattern) {
		return s, p, false
	}
	switch c := m.Pattern[p+1]; {
	case c == 'b':
		return m.balance(s, p+2), p + 4, true
	case c == 'f':
		return m.frontier(s, p+2)
	case '0' <= c && c <= '9':
		return m.reference(s, int(c)-'1'), p + 2, true
	}
	return s, p, false
}

// repeat matches the item of the pattern from p to end as often as the quantifier at end has it, and then the rest.
func (m *Matcher) repeat(s, p, end int) int {
	rest := end + 1
	switch m.Pattern[end] {
	case '?':
		if m.one(s, p, end) {
			if r := m.match(s+1, rest); r >= 0 || m.err != nil {
				return r
			}
		}
		return m.match(s, rest)
	case '-':
		for {
			if r := m.match(s, rest); r >= 0 || m.err != nil {
				return r
			}
			if !m.one(s, p, end) {
				return -1
			}
			s++
		}
	}
	n, least := 0, 0
	if m.Pattern[end] == '+' {
		least = 1
	}
	for m.one(s+n, p, end) && m.step() {
		n++
	}
	for ; n >= least && m.err == nil; n-- {
		if r := m.match(s+n, rest); r >= 0 {
			return r
		}
	}
	return -1
}

func (m *Matcher) begin(s, p int) int {
	length := open
	p++
	if p < len(m.Pattern) && m.Pattern[p] == ')' {
		length = position
		p++
	}
	if m.level >= maxCaptures {
		return m.fail(errors.New("too many captures"))
	}
	m.captures[m.level].start, m.captures[m.level].length = s, length
	m.level++
	r := m.match(s, p)
	if r < 0 {
		m.level--
	}
	return r
}

func (m *Matcher) finish(s, p int) int {
	for i := m.level - 1; i >= 0; i-- {
		if c := &m.captures[i]; c.length == open {
			c.length = s - c.start
			r := m.match(s, p)
			if r < 0 {
				c.length = open
			}
			return r
		}
	}
	return m.fail(errors.New("invalid pattern capture"))
}

func (m *Matcher) balance(s, p int) int {
	if p+1 >= len(m.Pattern) {
		return m.fail(errors.New("unbalanced pattern"))
	}
	if s >= len(m.Subject) || m.Subject[s] != m.Pattern[p] {
		return -1
	}
	for depth, i := 1, s+1; i < len(m.Subject) && m.step(); i++ {
		switch m.Subject[i] {
		case m.Pattern[p+1]:
			if depth--; depth == 0 {
				return i + 1
			}
		case m.Pattern[p]:
			depth++
		}
	}
	return -1
}

// frontier matches the empty place where a set begins to hold.
func (m *Matcher) frontier(s, p int) (nextS, nextP int, ok bool) {
	if p >= len(m.Pattern) || m.Pattern[p] != '[' {
		return m.fail(errors.New("missing '[' after '%f' in pattern")), p, true
	}
	end := m.itemEnd(p)
	if end < 0 {
		return -1, p, true
	}
	var before, after byte
	if s > 0 {
		before = m.Subject[s-1]
	}
	if s < len(m.Subject) {
		after = m.Subject[s]
	}
	if m.set(before, p, end-1) || !m.set(after, p, end-1) {
		return -1, p, true
	}
	return s, end, true
}

func (m *Matcher) reference(s, i int) int {
	if i < 0 || i >= m.level || m.captures[i].length == open {
		return m.fail(fmt.Errorf("invalid capture index %d in pattern", i+1))
	}
	c := m.captures[i]
	n := max(c.length, 0)
	if len(m.Subject)-s < n || m.Subject[c.start:c.start+n] != m.Subject[s:s+n] {
		return -1
	}
	m.steps += n / 64
	return s + n
}
