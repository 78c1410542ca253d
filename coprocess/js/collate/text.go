package collate

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A point is a code point and its canonical combining class.
type point struct {
	r     rune
	class uint8
}

// virama is the class of signs that take the vowel from a consonant, which are no accents.
const virama = 9

// accent reports whether the point only changes the letter before it.
func (p point) accent() bool { return p.class != 0 && p.class != virama }

// text reads the canonical decomposition of a string, NFD (Unicode §3.11), without making it. Unlike that of
// golang.org/x/text it has no joiners put between the many marks of one letter, which would make texts equal that are not.
type text struct {
	rest   string
	points []point // a letter with its marks, those from read on still to be given
	read   int
}

func (t *text) next() (point, bool) {
	if len(t.points) == 0 && !t.fill() {
		return point{}, false
	}
	p := t.points[t.read]
	if t.read++; t.read == len(t.points) {
		t.points, t.read = t.points[:0], 0
	}
	return p, true
}

// peek is the mark that comes next, 0 when there is none.
func (t *text) peek() rune {
	if len(t.points) == 0 {
		return 0
	}
	return t.points[t.read].r
}

// fill reads one character and all marks after it, and puts these into order.
func (t *text) fill() bool {
	if t.rest == "" {
		return false
	}
	t.take()
	for len(t.rest) > 0 && t.rest[0] >= utf8.RuneSelf && norm.NFD.PropertiesString(t.rest).LeadCCC() != 0 {
		t.take()
	}
	for i := 0; i < len(t.points); {
		end := i + 1
		for t.points[i].class != 0 && end < len(t.points) && t.points[end].class != 0 {
			end++
		}
		if end-i > 1 {
			slices.SortStableFunc(t.points[i:end], func(a, b point) int { return cmp.Compare(a.class, b.class) })
		}
		i = end
	}
	return true
}

// The syllables of Hangul are decomposed by arithmetic (Unicode §3.12).
const (
	syllable, syllables      = 0xAC00, 11172
	lead, vowel, trail       = 0x1100, 0x1161, 0x11A7
	perLead, perVowel   rune = 588, 28
)

func (t *text) take() {
	r, size := utf8.DecodeRuneInString(t.rest)
	from := t.rest
	t.rest = t.rest[size:]
	if i := r - syllable; 0 <= i && i < syllables {
		t.points = append(t.points, point{lead + i/perLead, 0}, point{vowel + i%perLead/perVowel, 0})
		if i %= perVowel; i != 0 {
			t.points = append(t.points, point{trail + i, 0})
		}
		return
	}
	if r == utf8.RuneError || ideograph(r) {
		t.points = append(t.points, point{r, 0})
		return
	}
	properties := norm.NFD.PropertiesString(from)
	parts := properties.Decomposition()
	if parts == nil {
		t.points = append(t.points, point{r, properties.CCC()})
		return
	}
	for len(parts) > 0 {
		r, size := utf8.DecodeRune(parts)
		t.points = append(t.points, point{r, class(parts)})
		parts = parts[size:]
	}
}

// ideograph reports whether r is one of the common ideographs, of which there is nothing to look up.
func ideograph(r rune) bool { return 0x4E00 <= r && r <= 0x9FFF }

// class is the combining class of the first code point of b.
func class(b []byte) uint8 { return norm.NFD.Properties(b).CCC() }

// compatible is what a character stands for that is a variant of others, as ﬁ and ² are, in UTF-8; nil for any other.
// Accents that stand alone are none.
func compatible(r rune) []byte {
	var b [utf8.UTFMax]byte
	d := norm.NFKD.Properties(b[:utf8.EncodeRune(b[:], r)]).Decomposition()
	if len(d) > 1 && d[0] == ' ' {
		return nil
	}
	return d
}

// unseen reports whether a character has no place in the order: controls that are no spaces, joiners and the like.
func unseen(r rune) bool {
	if r < 0xA0 {
		return r < ' ' && (r < '\t' || r > '\r') || r >= 0x7F && r != 0x85
	}
	return r == 0xAD || r == 0x34F || r >= 0x600 && unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
