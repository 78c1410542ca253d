package bots

import (
	"encoding/json"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"testing"
)

// listed is an entry of the public list as it is published.
type listed struct {
	Pattern   string   `json:"pattern"`
	Instances []string `json:"instances"`
	Tags      []string `json:"tags"`
}

func published(t testing.TB) []listed {
	t.Helper()
	data, err := os.ReadFile("crawlers/crawler-user-agents.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 1000 {
		t.Fatalf("%d entries", len(all))
	}
	return all
}

// The matcher says of every user agent of the public list what all its expressions say one by one.
func TestMatcherAgreesWithExpressions(t *testing.T) {
	all := published(t)
	expressions := make([]string, len(all))
	compiled := make([]*regexp.Regexp, len(all))
	for i, e := range all {
		expressions[i], compiled[i] = e.Pattern, regexp.MustCompile(e.Pattern)
	}
	m, err := newMatcher(expressions)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.rest) != 0 {
		t.Errorf("%d expressions without a factor are asked for every request", len(m.rest))
	}
	some := 0
	for i, e := range all {
		for j, agent := range e.Instances {
			got := m.match(agent, nil)
			if !slices.Contains(got, uint16(i)) && compiled[i].MatchString(agent) {
				t.Errorf("%q is not found by %q", agent, e.Pattern)
			}
			if (i+j)%23 != 0 {
				continue // all by all takes minutes
			}
			some++
			var want []uint16
			for k, r := range compiled {
				if r.MatchString(agent) {
					want = append(want, uint16(k))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q: got %d, want %d", agent, got, want)
			}
		}
	}
	if some < 50 {
		t.Errorf("only %d were compared", some)
	}
}

func TestFactors(t *testing.T) {
	for _, tt := range []struct {
		expression string
		texts      []string
		whole      bool
	}{
		{`curl`, []string{"curl"}, true},
		{`^curl`, []string{"curl"}, false},
		{`[wW]get`, []string{"Wget", "wget"}, true},
		{`Ahrefs(Bot|SiteAudit)`, []string{"AhrefsBot", "AhrefsSiteAudit"}, true},
		{`AdsBot-Google([^-]|$)`, []string{"AdsBot-Google"}, false},
		{`Spider[\s\S]*spider\.com`, []string{"spider.com"}, false},
		{`(?i)ab`, []string{"AB", "Ab", "aB", "ab"}, true},
		{`bots?`, []string{"bot", "bots"}, true},
		{`x\d\.\d+ Feed`, []string{" Feed"}, false},
		{`\d+`, nil, false},
		{`a*`, nil, false},
		{`(a|b*)`, nil, false},
		{``, []string{""}, true},
	} {
		m, err := newMatcher([]string{tt.expression})
		if err != nil {
			t.Fatal(err)
		}
		f := factorsOf(parse(t, tt.expression))
		slices.Sort(f.texts)
		if !slices.Equal(f.texts, tt.texts) || f.whole != tt.whole {
			t.Errorf("%s: got %q, whole %t", tt.expression, f.texts, f.whole)
		}
		if asked := f.shortest() == 0; asked != (len(m.rest) == 1) {
			t.Errorf("%s: asked always: %t", tt.expression, !asked)
		}
	}
	if _, err := newMatcher([]string{"a", "("}); err == nil {
		t.Error("a broken expression is accepted")
	}
	long := make([]string, 66)
	for i := range long {
		long[i] = string(rune('0'+i)) + string(make([]byte, 999))
	}
	if _, err := newMatcher(long); err == nil {
		t.Error("more than the automaton's numbers can count is accepted")
	}
}

// FuzzMatcher: whatever expressions and text, the matcher says what the expressions say.
func FuzzMatcher(f *testing.F) {
	f.Add("[wW]get|^curl", "(?i)bot", "a wget Bot")
	f.Add("(^| )x", "a?b?c?", " x")
	f.Add("é+ſ", "(?i)k", "Kéſ")
	f.Fuzz(func(t *testing.T, first, second, text string) {
		expressions := []string{first, second}
		m, err := newMatcher(expressions)
		if err != nil {
			return
		}
		var want []uint16
		for i, e := range expressions {
			if regexp.MustCompile(e).MatchString(text) {
				want = append(want, uint16(i))
			}
		}
		if got := m.match(text, nil); !slices.Equal(got, want) {
			t.Errorf("%q in %q: got %d, want %d", expressions, text, got, want)
		}
	})
}

const browser = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"

func BenchmarkMatch(b *testing.B) {
	var expressions []string
	for _, e := range published(b) {
		expressions = append(expressions, e.Pattern)
	}
	m, err := newMatcher(expressions)
	if err != nil {
		b.Fatal(err)
	}
	for name, agent := range map[string]string{
		"browser": browser,
		"crawler": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var ids [8]uint16
			for b.Loop() {
				m.match(agent, ids[:0])
			}
		})
	}
}

func parse(t testing.TB, expression string) *syntax.Regexp {
	t.Helper()
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
