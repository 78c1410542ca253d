package host

import (
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// index finds the route of a request by host and path: an exact host before a longer wildcard before a shorter one
// before any host, and within a host the longest listen path. Immutable once built; lookups neither lock nor allocate
// unless the path holds escapes.
type index struct {
	exact map[string]*paths
	wild  []wildHost // longest suffix first
	any   *paths
}

type wildHost struct {
	suffix string // ".example.com"
	paths  *paths
}

// paths finds the longest listen path that a path begins with.
type paths struct {
	segments map[string]*Route // match whole segments; "" is "/"
	longest  int               // length of the longest key of segments
	loose    map[string]*Route // match any prefix
	lengths  []int             // of the keys of loose, longest first
}

func newIndex(routes []*Route) *index {
	ix := &index{exact: map[string]*paths{}, any: newPaths()}
	for _, r := range routes {
		ix.under(r.listen.Host).add(r)
	}
	slices.SortFunc(ix.wild, func(a, b wildHost) int { return len(b.suffix) - len(a.suffix) })
	return ix
}

func (ix *index) under(host string) *paths {
	if host == "" {
		return ix.any
	}
	if suffix, ok := strings.CutPrefix(host, "*"); ok {
		for _, w := range ix.wild {
			if w.suffix == suffix {
				return w.paths
			}
		}
		ix.wild = append(ix.wild, wildHost{suffix, newPaths()})
		return ix.wild[len(ix.wild)-1].paths
	}
	if ix.exact[host] == nil {
		ix.exact[host] = newPaths()
	}
	return ix.exact[host]
}

func newPaths() *paths {
	return &paths{segments: map[string]*Route{}, loose: map[string]*Route{}}
}

func (p *paths) add(r *Route) {
	key := strings.TrimSuffix(r.listen.Path, "/")
	if r.listen.Match != config.MatchPrefix {
		p.segments[key] = r
		p.longest = max(p.longest, len(key))
		return
	}
	p.loose[key] = r
	if !slices.Contains(p.lengths, len(key)) {
		p.lengths = append(p.lengths, len(key))
		slices.SortFunc(p.lengths, func(a, b int) int { return b - a })
	}
}

// find returns the route and how many bytes of path its listen path took; nil when there is none. host may carry a
// port; path is the raw path of the request target. Percent escapes are equal to the characters they stand for (RFC
// 3986 §6.2.2.2), but an escaped slash ends no segment.
func (ix *index) find(host, path string) (*Route, int) {
	name := path
	if strings.IndexByte(path, '%') >= 0 {
		name = unescapePath(path)
	}
	r, n := ix.findName(host, name)
	if r != nil && len(name) != len(path) {
		n = rawLength(path, n)
	}
	return r, n
}

func (ix *index) findName(host, path string) (*Route, int) {
	if len(ix.exact) != 0 || len(ix.wild) != 0 {
		host = hostName(host)
		if p := ix.exact[host]; p != nil {
			if r, n := p.find(path); r != nil {
				return r, n
			}
		}
		for _, w := range ix.wild {
			if len(host) > len(w.suffix) && strings.HasSuffix(host, w.suffix) {
				if r, n := w.paths.find(path); r != nil {
					return r, n
				}
			}
		}
	}
	return ix.any.find(path)
}

func (p *paths) find(path string) (*Route, int) {
	var found *Route
	length := -1
	if len(p.segments) != 0 {
		end := len(path)
		if end > p.longest {
			// The listen path ends at a slash, or at the end of the path.
			end = strings.LastIndexByte(path[:p.longest+1], '/')
		}
		for end >= 0 {
			if r := p.segments[path[:end]]; r != nil {
				found, length = r, end
				break
			}
			end = strings.LastIndexByte(path[:end], '/')
		}
	}
	for _, n := range p.lengths {
		if n <= length {
			break
		}
		if n <= len(path) {
			if r := p.loose[path[:n]]; r != nil {
				return r, n
			}
		}
	}
	return found, max(length, 0)
}

// hostName returns the host without port, in lower case and without the dot of a fully qualified name.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	for i := range len(host) {
		if c := host[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(host)
		}
	}
	return host
}

// unescapePath decodes every escape but that of the slash; a broken escape stays.
func unescapePath(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := escaped(s, i); ok {
			b = append(b, c)
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// rawLength returns how many bytes of raw the first n bytes of its unescaped form came from.
func rawLength(raw string, n int) int {
	i := 0
	for ; n > 0 && i < len(raw); n-- {
		if _, ok := escaped(raw, i); ok {
			i += 2
		}
		i++
	}
	return i
}

func escaped(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	hi, ok1 := sdk.HexDigit(s[i+1])
	lo, ok2 := sdk.HexDigit(s[i+2])
	c := hi<<4 | lo
	return c, ok1 && ok2 && c != '/'
}
