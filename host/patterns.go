package host

import (
	"regexp"
	"sync"
	"sync/atomic"
)

// patterns are the regular expressions that sessions name, compiled once. Sessions are many and what they name is
// little; past a bound, expressions are compiled each time. One that does not compile matches nothing.
type patterns struct {
	compiled sync.Map // string to *regexp.Regexp, nil when it does not compile
	count    atomic.Int32
}

const maxPatterns = 4096

func (p *patterns) match(expression, path string) bool {
	var re *regexp.Regexp
	if known, ok := p.compiled.Load(expression); ok {
		re, _ = known.(*regexp.Regexp)
	} else {
		re, _ = regexp.Compile(expression)
		if p.count.Load() < maxPatterns {
			if _, there := p.compiled.LoadOrStore(expression, re); !there {
				p.count.Add(1)
			}
		}
	}
	return re != nil && re.MatchString(path)
}
