package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// matcher finds which of a list of path matches a request meets, as if they had been tried one by one. Plain patterns
// stand in trees of segments, so that their number costs little; regular expressions are tried in order.
type matcher struct {
	methods     [][]string // by index; empty: all
	exact, fold node       // patterns that heed case, and those that do not
	anyFold     bool
	expressions []expression
}

type expression struct {
	index int
	re    *regexp.Regexp
}

// node is what patterns say about a path that ends here, or goes on below.
type node struct {
	next  map[string]*node
	any   *node // {name}
	here  []int // indices of patterns that end here
	below []int // of those that end in "/*" here
}

// newMatcher compiles matches; nil when there are none.
func newMatcher(matches []config.PathMatch) (*matcher, error) {
	if len(matches) == 0 {
		return nil, nil
	}
	m := &matcher{}
	for i, match := range matches {
		re, err := match.Path.Compile(match.IgnoreCase)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", match.Path, err)
		}
		m.methods = append(m.methods, match.Methods)
		switch {
		case strings.HasPrefix(string(match.Path), "~"):
			m.expressions = append(m.expressions, expression{i, re})
		case match.IgnoreCase:
			m.anyFold = true
			m.fold.insert(string(match.Path), i, foldCase)
		default:
			m.exact.insert(string(match.Path), i, func(s string) string { return s })
		}
	}
	return m, nil
}

// insert adds a plain pattern (see config.Pattern), as written and, when it holds escapes, decoded: paths are compared
// decoded, and a pattern that never matched would protect nothing.
func (n *node) insert(pattern string, index int, key func(string) string) {
	rest, below := strings.CutSuffix(pattern, "/*")
	rest = strings.TrimSuffix(rest, "/")
	n.insertSegments(rest, below, index, key)
	if decoded, escaped := decode(rest, false); escaped {
		n.insertSegments(decoded, below, index, key)
	}
}

func (n *node) insertSegments(path string, below bool, index int, key func(string) string) {
	for path != "" {
		var segment string
		segment, path = cutSegment(path)
		if len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}' {
			if n.any == nil {
				n.any = &node{}
			}
			n = n.any
			continue
		}
		if n.next == nil {
			n.next = map[string]*node{}
		}
		segment = key(segment)
		if n.next[segment] == nil {
			n.next[segment] = &node{}
		}
		n = n.next[segment]
	}
	if below {
		n.below = append(n.below, index)
	} else {
		n.here = append(n.here, index)
	}
}

// cutSegment splits "/a/b" into "a" and "/b".
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// search is one request asked of a matcher.
type search struct {
	m      *matcher
	method string
	folded bool // methods compare without regard to case
	first  int  // the least index found; len(m.methods) when none
	every  bool // collect all
	found  []int
}

// run asks for path, which is decoded.
func (s *search) run(path string) {
	s.first = len(s.m.methods)
	if path == "" || path[0] == '/' {
		s.walk(&s.m.exact, path)
		if s.m.anyFold {
			s.walk(&s.m.fold, foldCase(path))
		}
	}
	for _, e := range s.m.expressions {
		if e.index > s.first && !s.every {
			break
		}
		if s.admits(e.index) && e.re.MatchString(path) {
			s.take(e.index)
		}
	}
}

func (s *search) walk(n *node, path string) {
	s.hit(n.below)
	if path == "" || path == "/" {
		s.hit(n.here)
	}
	if path == "" {
		return
	}
	segment, rest := cutSegment(path)
	if next := n.next[segment]; next != nil {
		s.walk(next, rest)
	}
	if n.any != nil && segment != "" {
		s.walk(n.any, rest)
	}
}

func (s *search) hit(indices []int) {
	for _, i := range indices {
		if s.admits(i) {
			s.take(i)
		}
	}
}

func (s *search) take(index int) {
	s.first = min(s.first, index)
	if s.every && !slices.Contains(s.found, index) {
		s.found = append(s.found, index)
	}
}

func (s *search) admits(index int) bool {
	methods := s.m.methods[index]
	if len(methods) == 0 {
		return true
	}
	for _, m := range methods {
		if m == s.method || s.folded && sdk.EqualFold(m, s.method) {
			return true
		}
	}
	return false
}

// first returns the index of the first match in the list, -1 when there is none.
func (m *matcher) first(method, path string) int {
	s := search{m: m, method: method}
	s.run(path)
	if s.first == len(m.methods) {
		return -1
	}
	return s.first
}

// all returns the indices of all matches in order.
func (m *matcher) all(method, path string) []int {
	s := search{m: m, method: method, every: true}
	s.run(path)
	slices.Sort(s.found)
	return s.found
}

// blocks reports whether anything matches. Servers exist that take "get" for GET, so methods compare without regard to
// case.
func (m *matcher) blocks(method, path string) bool {
	s := search{m: m, method: method, folded: true}
	s.run(path)
	if s.first < len(m.methods) {
		return true
	}
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" && len(trimmed) < len(path) && len(m.expressions) > 0 {
		s.run(trimmed) // an expression such as ^/admin$ means /admin/ too
	}
	return s.first < len(m.methods)
}

// foldCase maps all spellings of s that differ in case alone to one, by Unicode's simple folding as (?i) does. It
// returns s itself when that is the one.
func foldCase(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return foldRunes(s, i)
		}
	}
	return s
}

func foldRunes(s string, from int) string {
	b := append(make([]byte, 0, len(s)), s[:from]...)
	for i := from; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[i])
		} else {
			b = utf8.AppendRune(b, foldRune(r))
		}
		i += size
	}
	return string(b)
}

// foldRune returns the least of the runes that equal r but for case, ASCII ones in lower case.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}
