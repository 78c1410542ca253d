package rules

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// patterns that overlap in many ways.
func manyPatterns() []config.PathMatch {
	return matches(
		"/", "GET /a", "/a/b", "/a/{x}", "POST,PUT /a/{x}/c", "/a/*", "/{x}/b", "/{x}/{y}", "(i)/A/B", "~^/a/[bc]$",
		"/a/b/*", "(i)/a/{x}/*", "/*", "/a//b", "/a//", "/{x}/{y}/{z}/*", "/a/b/c/d", "(i)~B$", "/a", "~", "(i)/ſ/é", "/ä",
	)
}

// byRegexp tries all in order, as config.Pattern defines a match.
func byRegexp(t testing.TB, list []config.PathMatch, method, path string) []int {
	var found []int
	for i, m := range list {
		re, err := m.Path.Compile(m.IgnoreCase)
		if err != nil {
			t.Fatal(err)
		}
		if (len(m.Methods) == 0 || slices.Contains(m.Methods, method)) && re.MatchString(path) {
			found = append(found, i)
		}
	}
	return found
}

func compare(t *testing.T, list []config.PathMatch, method, path string) {
	t.Helper()
	m, err := newMatcher(list)
	if err != nil {
		t.Fatal(err)
	}
	want := byRegexp(t, list, method, path)
	if got := m.all(method, path); !slices.Equal(got, want) {
		t.Errorf("all(%s %q) = %v, want %v", method, path, got, want)
	}
	first := -1
	if len(want) > 0 {
		first = want[0]
	}
	if got := m.first(method, path); got != first {
		t.Errorf("first(%s %q) = %d, want %d", method, path, got, first)
	}
}

func TestMatcherEqualsRegexps(t *testing.T) {
	segments := []string{"", "/", "/a", "/b", "/A", "/B", "/x", "/c", "/é", "/É", "/S", "/ä"}
	list := manyPatterns()
	for _, method := range []string{"GET", "POST"} {
		for _, a := range segments {
			for _, b := range segments {
				for _, c := range segments {
					compare(t, list, method, a+b+c)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
}

func FuzzMatcher(f *testing.F) {
	f.Add("/a/{x}", "/a/b", false)
	f.Add("/A/*", "/a/b/c", true)
	f.Add("/k", "/\u212a", true)
	f.Add("/a//", "/a/", false)
	f.Fuzz(func(t *testing.T, pattern, path string, ignoreCase bool) {
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path+pattern, '\n') || strings.Contains(pattern, "%") ||
			strings.ContainsRune(pattern, utf8.RuneError) || len(pattern) > 100 {
			return // ours matches line ends below a "/*" and decoded escapes, the regexp does not
		}
		list := append(manyPatterns()[:5:5], config.PathMatch{Path: config.Pattern(pattern), IgnoreCase: ignoreCase})
		if _, err := list[5].Path.Compile(false); err != nil {
			return
		}
		compare(t, list, "GET", path)
	})
}

func TestBelowHoldsEverything(t *testing.T) {
	m, err := newMatcher(matches("/a/*"))
	if err != nil {
		t.Fatal(err)
	}
	if m.first("GET", "/a/x\ny") != 0 {
		t.Error("a line end gets past a pattern")
	}
}

func TestFoldCase(t *testing.T) {
	tests := []struct{ in, want string }{
		{"abc/1", "abc/1"}, {"ABC", "abc"}, {"É", "É"}, {"é", "É"}, {"\u212a", "k"}, {"ſ", "s"}, {"a\xffB", "a\xffb"}, {"ǅ", "Ǆ"},
	}
	for _, test := range tests {
		if got := foldCase(test.in); got != test.want {
			t.Errorf("foldCase(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}
