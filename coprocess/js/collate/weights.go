package collate

import (
	"strings"
	"unicode"
)

// What characters weigh as accents and as cases: plain, or more.
const (
	plain   uint32 = 1
	variant uint32 = 1 // one that stands for another, like a full-width letter
	upper   uint32 = 2
)

// Groups of characters in their order.
const (
	spaces uint32 = (iota + 1) << 28
	punctuation
	symbols
	currencies
	digits
	alphabets
)

const (
	// asciiSigns are punctuation and symbols in their order; other signs come after those of their group.
	asciiSigns = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$"
	// From here on they are symbols, and then currencies.
	asciiSymbols, asciiCurrency = len("_-,;:!?.'\"()[]{}@*/\\&#%"), len(asciiSigns) - 1
	// latin is the order of the Latin letters that are no variants of others.
	latin = "aɑbƀƃcȼƈdȸƌȡeɇǝəɛfƒgǥƣhƕiıjȷɉkƙlƚȴƛmnƞȵŋoɔȣpƥqȹɋĸrɍsȿƪtƾŧƫƭȶuvwxyɏƴȝzƍƶȥɀƹƺþƿƨƽƅɂ"
	// cyrillic is the same of Cyrillic letters.
	cyrillic = "аәӕбвгғӻҕӷдԁђԃѓҙеєжҗзԅԑѕӡԇиҋіїйјкқӄҡҟҝԟԛлӆԓԡљԉԕмӎнӊңӈԣҥњԋоөпԥҧҁрҏԗсԍҫтԏҭћќуўүұѹфхӽӿҳһԧѡѿѽѻцҵчҷӌҹҽҿџшщъыьҍѣэюяԙѥѧѫѩѭѯѱѳѵѷҩԝӏԩԫԭԯ"
	// marks is the order of accents; others come after them.
	marks = "\u0332\u0313\u0314\u0301\u0300\u0306\u0302\u030c\u030a\u0342\u0308\u030b\u0303\u0307\u0338\u0327\u0328\u0304"
	// stroke is the accent of what expansion spells.
	stroke = '\u0338'
)

// primary is what a character weighs among letters and signs, in lower case and without accents.
func primary(r rune) uint32 {
	switch {
	case 'a' <= r && r <= 'z':
		return letter(r)
	case '0' <= r && r <= '9':
		return digits | uint32(r)<<8
	case r < 0x80:
		return sign(r)
	case unicode.IsLetter(r):
		return letter(r)
	case unicode.IsSpace(r):
		return spaces | uint32(r)<<4
	case unicode.IsPunct(r):
		return punctuation | uint32(r)<<4
	case unicode.Is(unicode.Sc, r):
		return currencies | uint32(r)<<4
	case unicode.IsSymbol(r):
		return symbols | uint32(r)<<4
	case unicode.IsNumber(r):
		return number(r)
	}
	return letter(r)
}

func sign(r rune) uint32 {
	if r <= ' ' {
		return spaces | uint32(r)<<4
	}
	at := strings.IndexByte(asciiSigns, byte(r))
	switch {
	case at >= asciiCurrency:
		return currencies | uint32(at)
	case at >= asciiSymbols:
		return symbols | uint32(at)
	}
	return punctuation | uint32(at)
}

// number weighs decimal digits of all scripts by their value.
func number(r rune) uint32 {
	for _, in := range unicode.Nd.R16 {
		if rune(in.Lo) <= r && r <= rune(in.Hi) {
			return digits | uint32('0'+(r-rune(in.Lo))%10)<<8
		}
	}
	for _, in := range unicode.Nd.R32 {
		if rune(in.Lo) <= r && r <= rune(in.Hi) {
			return digits | uint32('0'+(r-rune(in.Lo))%10)<<8
		}
	}
	return digits | uint32(r)<<4
}

// letter weighs letters by their numbers, and those of latin and cyrillic by their places there.
func letter(r rune) uint32 {
	w := alphabets | uint32(r)<<7
	switch {
	case r < 0x80:
		return w
	case r < 0x300:
		at := strings.IndexRune(latin, r)
		if at < 0 {
			return w
		}
		base := at
		for latin[base] >= 0x80 {
			base--
		}
		return alphabets | uint32(latin[base])<<7 | uint32(at-base)
	case 0x400 <= r && r < 0x530:
		if at := strings.IndexRune(cyrillic, r); at >= 0 {
			return alphabets | 0x400<<7 | uint32(at/2)
		}
	}
	return w
}

// secondary is what an accent weighs.
func secondary(r rune) uint32 {
	if at := strings.IndexRune(marks, r); at >= 0 {
		return plain + 1 + uint32(at)
	}
	return plain + 1 + uint32(len(marks)) + uint32(r)
}

// fold is a character in lower case; of katakana, hiragana; of Hebrew letters, not that at a word's end.
func fold(r rune) rune {
	switch {
	case r < 0x80:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	case r == 'ı': // the lower case of a capital that is another letter's too
		return r
	case 'ァ' <= r && r <= 'ヶ':
		return r - 'ァ' + 'ぁ'
	case 0x5D0 <= r && r <= 0x5EA && strings.ContainsRune("ךםןףץ", r):
		return r + 1
	}
	return unicode.ToLower(unicode.ToUpper(r)) // ς and its kin have the capital of another
}

// expansion is how a Latin letter is spelt in letters of the order, "" for one that is in it.
func expansion(r rune) string {
	switch r {
	case 'æ':
		return "a\u0338e"
	case 'œ':
		return "o\u0338e"
	case 'ß':
		return "s\u0338s"
	case 'ø':
		return "o\u0338"
	case 'đ':
		return "d\u0338"
	case 'ð':
		return "d\u0338\u0338"
	case 'ħ':
		return "h\u0338"
	case 'ł':
		return "l\u0338"
	case 'ґ':
		return "г\u0338"
	}
	return ""
}

// composed is the Cyrillic letter that a letter and its mark are, where it is a letter of its own; 0 otherwise.
func composed(base, mark rune) rune {
	switch {
	case mark == '\u0306' && base == 'и':
		return 'й'
	case mark == '\u0306' && base == 'у':
		return 'ў'
	case mark == '\u0308' && base == 'і':
		return 'ї'
	case mark == '\u0301' && base == 'г':
		return 'ѓ'
	case mark == '\u0301' && base == 'к':
		return 'ќ'
	}
	return 0
}
