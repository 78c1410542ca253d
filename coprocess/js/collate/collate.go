// Package collate orders texts as people expect lists to be ordered, for String.prototype.localeCompare (ECMA-262
// §22.1.3.12), which leaves the order to implementations.
//
// # The order
//
// Texts are compared by their letters first: without accents, in lower case, compatibility variants as what they stand
// for. Spaces come before punctuation, then symbols, currencies, digits, and letters: Latin, Greek, Cyrillic, and the other
// scripts as Unicode numbers them. Among texts of the same letters accents decide, from the left; then case, lower before
// upper; and then code points. Only canonically equal texts are equal. Characters that are not seen, like controls and
// joiners, count only in that last step.
//
// # How it differs from the root collation
//
// For Latin, Greek, Cyrillic and Hebrew words this is the order of Unicode's collation without a locale (UTS #10), which
// golang.org/x/text/collate has from 1.3 MiB of tables; a test compares them. What differs:
//   - Of Cyrillic letters with accents only й, ї, ѓ, ќ and ў are letters of their own. The rest (ӑ, ӣ, ӹ, …) are told apart
//     as accents are.
//   - Archaic Greek letters, letters that the Arabic script got outside of Arabic, small kana, Georgian, symbols,
//     currencies, and variants of one character, like ２ and ², come in the order of their numbers.
//   - Vowels of Thai and Lao are not moved behind the consonant that they are written before; some count as accents.
//   - x/text has texts equal that differ in controls, or in accents it has no order for. Here they are not.
package collate

import (
	"cmp"
	"unicode/utf8"
)

type level int

const (
	letters level = iota
	accents
	cases
	points
	levels
)

// Collator compares texts. Its zero value is ready; it keeps a little memory from one comparison to the next, so it is for
// one goroutine at a time.
type Collator struct{ a, b reader }

// keep is how many points, and how many weights, a reader keeps memory for.
const keep = 64

// Compare orders a and b: negative when a comes first, 0 when they are canonically equal (Unicode §3.7), positive when b
// does. It is a total order. What is no UTF-8 in them is taken as U+FFFD.
func (c *Collator) Compare(a, b string) int {
	if a == b {
		return 0
	}
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	for same > 0 && a[same-1] >= utf8.RuneSelf {
		same-- // to where nothing that comes after changes what was before
	}
	a, b = a[same:], b[same:]
	order := 0
	for l := letters; l < levels && order == 0; l++ {
		if l == accents && c.a.ascii && c.b.ascii {
			continue
		}
		c.a.begin(a, l)
		c.b.begin(b, l)
		for {
			v, w := c.a.next(), c.b.next()
			if order = cmp.Compare(v, w); order != 0 || v == 0 {
				break
			}
		}
	}
	c.a.end()
	c.b.end()
	return order
}

// reader reads the weights of a text at one level.
type reader struct {
	text
	level   level
	weights []uint32 // of what was read, those from at on still to be given
	at      int
	ascii   bool // nothing else was read
}

func (r *reader) begin(s string, l level) {
	r.text = text{rest: s, points: r.points[:0]}
	r.level, r.weights, r.at, r.ascii = l, r.weights[:0], 0, true
}

// end lets go of the text, and of memory for letters with very many marks.
func (r *reader) end() {
	r.rest = ""
	if cap(r.points) > keep {
		r.points = nil
	}
	if cap(r.weights) > keep {
		r.weights = nil
	}
}

// next is the next weight; 0, which is less than any, at the end.
func (r *reader) next() uint32 {
	for r.at == len(r.weights) {
		if len(r.points) == 0 && len(r.rest) > 0 && r.rest[0] < utf8.RuneSelf {
			c := r.rest[0]
			r.rest = r.rest[1:]
			if w := r.one(c); w != 0 {
				return w
			}
			continue
		}
		p, ok := r.text.next()
		if !ok {
			return 0
		}
		r.ascii = false
		r.weights, r.at = r.weights[:0], 0
		r.weigh(p)
	}
	r.at++
	return r.weights[r.at-1]
}

// one is the weight of an ASCII character, 0 for none at this level.
func (r *reader) one(c byte) uint32 {
	switch {
	case r.level == points:
		return uint32(c) + 1
	case unseen(rune(c)):
		return 0
	case r.level == accents:
		return plain
	case r.level == cases:
		if 'A' <= c && c <= 'Z' {
			return plain + upper
		}
		return plain
	case 'a' <= c && c <= 'z':
		return letter(rune(c))
	case 'A' <= c && c <= 'Z':
		return letter(rune(c) + 'a' - 'A')
	}
	return primary(rune(c))
}

// weigh appends what a code point weighs.
func (r *reader) weigh(p point) {
	switch {
	case r.level == points:
		r.weights = append(r.weights, uint32(p.r)+1)
		return
	case ideograph(p.r):
		r.seen(p.r, false, 0)
		return
	case unseen(p.r):
		return
	case p.accent():
		r.accent(p.r)
		return
	}
	if whole := composed(fold(p.r), r.peek()); whole != 0 {
		_, _ = r.text.next() // the mark
		r.seen(whole, fold(p.r) != p.r, 0)
		return
	}
	if stands := compatible(p.r); stands != nil {
		for len(stands) > 0 {
			c, size := utf8.DecodeRune(stands)
			r.expand(point{c, class(stands)}, variant)
			stands = stands[size:]
		}
		return
	}
	r.expand(p, 0)
}

// expand appends what a character weighs that may be written as several letters, as æ is.
func (r *reader) expand(p point, shape uint32) {
	if p.accent() {
		r.accent(p.r)
		return
	}
	small := fold(p.r)
	spelt := expansion(small)
	if spelt == "" {
		r.seen(small, small != p.r, shape)
		return
	}
	for _, c := range spelt {
		if c == stroke {
			r.accent(c)
		} else {
			r.seen(c, small != p.r, shape)
		}
	}
}

// seen appends what a letter, or another sign that is none of the accents, weighs.
func (r *reader) seen(c rune, capital bool, shape uint32) {
	switch r.level {
	case letters:
		r.weights = append(r.weights, primary(c))
	case accents:
		r.weights = append(r.weights, plain)
	case cases:
		if capital {
			shape += upper
		}
		r.weights = append(r.weights, plain+shape)
	}
}

func (r *reader) accent(c rune) {
	if r.level == accents {
		r.weights = append(r.weights, secondary(c))
	}
}
