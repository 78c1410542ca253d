package bots

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// matcher tells which of many regular expressions match a text. Each is found by texts of which one must occur where it
// matches, all of them in one pass; what more an expression says, it is asked itself. It is immutable.
type matcher struct {
	factors *automaton
	of      []uint16         // which expression a factor belongs to
	confirm []*regexp.Regexp // of each expression; nil where its factors say it all
	rest    []uint16         // expressions without a factor, asked always
}

// newMatcher compiles expressions of Go's syntax (RE2).
func newMatcher(expressions []string) (*matcher, error) {
	m := &matcher{confirm: make([]*regexp.Regexp, len(expressions))}
	if len(expressions) > maxStates {
		return nil, errTooMuch
	}
	var texts []string
	for i, e := range expressions {
		compiled, err := regexp.Compile(e)
		if err != nil {
			return nil, err
		}
		tree, err := syntax.Parse(e, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", e, err)
		}
		f := factorsOf(tree)
		if !f.whole {
			m.confirm[i] = compiled
		}
		if f.shortest() == 0 {
			m.confirm[i] = compiled
			m.rest = append(m.rest, uint16(i))
			continue
		}
		for _, text := range f.texts {
			texts, m.of = append(texts, text), append(m.of, uint16(i))
		}
	}
	if len(texts) > maxStates {
		return nil, errTooMuch
	}
	var err error
	m.factors, err = newAutomaton(texts)
	return m, err
}

// match adds to ids the numbers of the expressions that match, in rising order, each once.
func (m *matcher) match(text string, ids []uint16) []uint16 {
	begin := len(ids)
	m.factors.find(text, func(factor uint16) {
		id := m.of[factor]
		if !slices.Contains(ids[begin:], id) {
			ids = append(ids, id)
		}
	})
	ids = append(ids, m.rest...)
	kept := ids[:begin]
	for _, id := range ids[begin:] {
		if r := m.confirm[id]; r == nil || r.MatchString(text) {
			kept = append(kept, id)
		}
	}
	slices.Sort(kept[begin:])
	return kept
}

// maxFactors bounds how many texts stand for one expression.
const maxFactors = 64

// factors are texts of which one occurs in whatever an expression matches. whole says that the expression matches these
// and nothing else, and wherever they stand.
type factors struct {
	texts []string
	whole bool
}

// shortest is the length of the shortest, 0 when there is none.
func (f factors) shortest() int {
	if len(f.texts) == 0 {
		return 0
	}
	n := len(f.texts[0])
	for _, t := range f.texts {
		n = min(n, len(t))
	}
	return n
}

// better picks the factors that occur less by chance.
func better(a, b factors) factors {
	if b.shortest() > a.shortest() {
		return b
	}
	return a
}

func factorsOf(re *syntax.Regexp) factors {
	switch re.Op {
	case syntax.OpLiteral:
		if slices.Contains(re.Rune, utf8.RuneError) {
			return factors{} // what bytes are that are no text, too
		}
		if re.Flags&syntax.FoldCase == 0 {
			return factors{[]string{string(re.Rune)}, true}
		}
		sub := make([]*syntax.Regexp, len(re.Rune))
		for i, r := range re.Rune {
			sub[i] = folded(r)
		}
		return inOrder(sub)
	case syntax.OpEmptyMatch:
		return factors{[]string{""}, true}
	case syntax.OpCharClass:
		return ofClass(re.Rune)
	case syntax.OpCapture:
		return factorsOf(re.Sub[0])
	case syntax.OpPlus:
		f := factorsOf(re.Sub[0])
		return factors{texts: f.texts}
	case syntax.OpQuest:
		if f := factorsOf(re.Sub[0]); f.whole {
			return factors{append([]string{""}, f.texts...), true}
		}
	case syntax.OpConcat:
		return inOrder(re.Sub)
	case syntax.OpAlternate:
		return oneOf(re.Sub)
	}
	return factors{}
}

// folded is the class of a letter's cases.
func folded(r rune) *syntax.Regexp {
	c := &syntax.Regexp{Op: syntax.OpCharClass}
	for _, one := range foldings(r) {
		c.Rune = append(c.Rune, one, one)
	}
	return c
}

func ofClass(ranges []rune) factors {
	var texts []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if len(texts) == maxFactors/8 || r == utf8.RuneError {
				return factors{}
			}
			texts = append(texts, string(r))
		}
	}
	return factors{texts, true}
}

// inOrder joins what follows one another as long as it is a few texts, and picks the best of the pieces.
func inOrder(sub []*syntax.Regexp) factors {
	var best factors
	run, whole := factors{[]string{""}, true}, true
	for _, s := range sub {
		f := factorsOf(s)
		if joined, ok := join(run, f); ok {
			run = joined
			continue
		}
		whole = false
		best = better(better(best, run), factors{texts: f.texts})
		run = factors{[]string{""}, true}
		if f.whole {
			run = f
		}
	}
	if whole {
		return run
	}
	best = better(best, run)
	best.whole = false
	return best
}

// join returns every text of a followed by every one of b.
func join(a, b factors) (factors, bool) {
	if !b.whole || len(a.texts)*len(b.texts) > maxFactors {
		return factors{}, false
	}
	f := factors{whole: true}
	for _, x := range a.texts {
		for _, y := range b.texts {
			f.texts = append(f.texts, x+y)
		}
	}
	return f, true
}

func oneOf(sub []*syntax.Regexp) factors {
	all := factors{whole: true}
	for _, s := range sub {
		f := factorsOf(s)
		if len(f.texts) == 0 || len(all.texts)+len(f.texts) > maxFactors {
			return factors{}
		}
		all.texts, all.whole = append(all.texts, f.texts...), all.whole && f.whole
	}
	return all
}

// foldings lists a letter in all its cases.
func foldings(r rune) []rune {
	all := []rune{r}
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		all = append(all, next)
	}
	return all
}
