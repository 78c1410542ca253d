package collate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	root "golang.org/x/text/collate"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

// words are such that this order and the root collation agree on every pair.
var words = strings.Fields(`
	a A á à â ä ã å ā ă ą Å an And año ano anos ângulo Anlage Anläge ÄRGER Ärger ärger ae æ Æ aether æther Aether af az
	b B c C ç č ć cafe café Café CAFÉ cafés caffè co-op coop CO-OP cote coté côte côté Côté czar čaj d D đ ð Đ đak dak Dz
	e E é è ê ë ę ě eau œuvre oeuvre Œuvre OEuvre f fi ﬁ flambe flambé g ğ Gün gün gul h H ħ i I ı İ î ï naif naïf naïve j k K
	l L ł Ł Łódź Lodz łódź lodz lz m n N ñ Ñ ň ń ŋ o O ó ò ô ö õ ő ø Ø ō ora øre oz p piña pina pinata q r ř resume résumé Résumé
	RESUME rosé rose Rose roses s S š ś ş ș ß ẞ ss SS sse straße strasse Straße STRASSE strassen t T ť ţ ț ŧ u ú ù û ü ů ű ū über
	uber Uber Über v w x y ý ÿ z Z ž ź ż zoë zoe Zoë þ Þ þing
	α Α ά Ά αβ β Β γ δ ε έ ζ η ή θ ι ί ϊ ΐ κ λ λόγος λογος Λόγος ΛΟΓΟΣ μ ν ξ ο ό π ρ σ ς Σ τ υ ύ ϋ ΰ φ χ ψ ω ώ Ω ὁ Ἀθῆναι Αθηναι Αθήνα
	а А б Б в г ґ Г Ґ ѓ д ђ е Е ё Ё є ж з ѕ и И і ї й Й ј к ќ л љ м н њ о п р с т ћ у ў ф х ц ч џ ш щ ъ ы ь э ю я Я ёж еж ежа Ёж
	ель ёлка йод Йод иод Иван Ивана Игорь Юля ямб Київ Киев Їжак їжак ножи ножй
	א ב ג ד כ ך ל מ ם שלום שָׁלוֹם
	0 1 2 9 00 01 10 11 100 1000 ２ 1a a1 item item1 item2 item10 Item10
	. , - _ ! ? ; : ' " ( ) [ ] { } @ * / \ & # % + < = > | ~ $ ` + "`" + ` ^ a.b a-b a_b a,b a/b a@b a1b ab a+b
	/users /Users /users/1 /users/10 /users/2 /users-old /user Content-Type content-type content_type X-Real-IP x-real-ip`)

// compare is a comparison by a collator that has seen no other text.
func compare(a, b string) int { return new(Collator).Compare(a, b) }

func TestAgreesWithRootCollation(t *testing.T) {
	all := append(slices.Clone(words), "", " ", "a b", "a  b", "A b", "de luge", "de-luge", "deluge", "Deluge", "de Luge", "two words")
	c, ours := root.New(language.Und), new(Collator)
	pairs := 0
	for _, a := range all {
		for _, b := range all {
			pairs++
			got, want := ours.Compare(a, b), c.CompareString(a, b)
			if got != want {
				t.Errorf("%q, %q: %d; x/text has %d", a, b, got, want)
			}
		}
	}
	t.Log(pairs, "pairs")
}

// TestDiffers: what the package's comment says differs, does; so the comment stays true.
func TestDiffers(t *testing.T) {
	c := root.New(language.Und)
	for _, p := range []struct {
		what, a, b string
		want       int // ours; x/text has another
	}{
		{"Cyrillic letters with accents", "ӑв", "аг", -1},
		{"archaic Greek letters", "ϝ", "ζ", 1},
		{"letters of Persian", "پ", "ت", 1},
		{"small kana", "ぁい", "ああ", -1},
		{"Georgian", "ა", "ա", 1},
		{"currencies", "£", "¤", -1},
		{"symbols", "©", "¯", -1},
		{"Thai vowels before a consonant", "เก", "ข", 1},
		{"variants of one character", "²", "２", -1},
		{"controls", "a\x00", "a", 1},
		{"joiners", "a\u200d", "a", 1},
		{"accents without an order", "a\u0316", "a\u0317", -1},
	} {
		if got := compare(p.a, p.b); got != p.want {
			t.Errorf("%s: %q, %q: %d, want %d", p.what, p.a, p.b, got, p.want)
		}
		if theirs := c.CompareString(norm.NFD.String(p.a), norm.NFD.String(p.b)); theirs == p.want {
			t.Errorf("%s: %q, %q: x/text has %d too: the comment of the package is to be corrected", p.what, p.a, p.b, theirs)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, in := range []string{
		"resume < Resume < résumé < Résumé < resumes",
		"cote < côte < cotes",
		"coté < côte", // from the left
		"aa < áb < ac",
		"fi < ﬁ < Fi", // the variant is no capital
		"2 < ２ < 3 < a < α < а < א < 漢",
		"かな < カナ < かに",
		"! < + < $ < 1 < a",
		"a\u0316\u0301 = a\u0301\u0316",
		"Å = A\u030a",
		"Å = A\u030a", // U+212B
		"각 = \u1100\u1161\u11a8",
		"가 < 각 < 나",
		"q\u0307\u0323 = q\u0323\u0307",
	} {
		parts := strings.Fields(in)
		for i := 0; i+2 < len(parts); i += 2 {
			want := map[string]int{"<": -1, "=": 0}[parts[i+1]]
			if got := compare(parts[i], parts[i+2]); got != want {
				t.Errorf("%q, %q: %d, want %d", parts[i], parts[i+2], got, want)
			}
		}
	}
}

// TestDecomposition: text reads what norm.NFD makes, of every character.
func TestDecomposition(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if !utf8.ValidRune(r) || r >= 0x3400 && r%64 != 0 && !unicode.In(r, unicode.Hangul, unicode.M) && norm.NFD.PropertiesString(string(r)).Decomposition() == nil {
			continue
		}
		s := string(r) + "\u0345\u0301\u0316"
		var b strings.Builder
		read := text{rest: s}
		for p, ok := read.next(); ok; p, ok = read.next() {
			b.WriteRune(p.r)
		}
		if want := norm.NFD.String(s); b.String() != want {
			t.Fatalf("%U: %+q, want %+q", r, b.String(), want)
		}
	}
}

// TestManyMarks: norm.NFD puts a joiner after each thirty marks of a letter, so of such it would say that they are equal.
func TestManyMarks(t *testing.T) {
	marks := strings.Repeat("\u0301", 40)
	a, b := "a"+marks+"\u0316", "a\u0316"+marks
	if got := compare(a, b); got != 0 {
		t.Errorf("canonically equal, and got %d", got)
	}
	with := norm.NFD.String("a" + marks)
	if with == "a"+marks {
		t.Fatal("norm puts no joiner there any more")
	}
	if compare("a"+marks, with) == 0 {
		t.Error("equal, and one has a joiner")
	}
}

// TestEveryCharacter: characters are in a total order, each equal to those alone that are canonically equal.
func TestEveryCharacter(t *testing.T) {
	var all []string
	for r := range rune(unicode.MaxRune + 1) {
		if utf8.ValidRune(r) && (r < 0x600 || r%7 == 0 && (r < 0x3400 || unicode.IsLetter(r) && r%61 == 0 || unicode.In(r, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Cf))) {
			all = append(all, string(r))
		}
	}
	slices.SortFunc(all, new(Collator).Compare)
	for i, s := range all[1:] {
		before := all[i]
		if equal := norm.NFD.String(s) == norm.NFD.String(before); (compare(before, s) == 0) != equal || compare(before, s) > 0 {
			t.Errorf("%+q, %+q: %d; canonically equal: %v", before, s, compare(before, s), equal)
		}
	}
	// Any three of them, since sorting does not compare all.
	random := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		i, j := random.IntN(len(all)), random.IntN(len(all))
		if got, want := compare(all[i], all[j]), cmp.Compare(i, j); got != want && norm.NFD.String(all[i]) != norm.NFD.String(all[j]) {
			t.Fatalf("%+q, %+q: %d; sorted it is %d", all[i], all[j], got, want)
		}
	}
}

// FuzzCompare: a total order of texts, in which those alone are equal that are canonically equal.
func FuzzCompare(f *testing.F) {
	for i := range words {
		f.Add(words[i], words[(i+1)%len(words)], words[(i+7)%len(words)])
	}
	f.Add("a\u0301\u0316", "a\u0316\u0301", "á\u0316")
	f.Add("e\u200d\x00", "E", "\xff\ufffd")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		a, b, c = strings.ToValidUTF8(a, "\ufffd"), strings.ToValidUTF8(b, "\ufffd"), strings.ToValidUTF8(c, "\ufffd")
		ab, bc, ac := compare(a, b), compare(b, c), compare(a, c)
		if ba := compare(b, a); ba != -ab {
			t.Fatalf("%+q, %+q: %d, the other way %d", a, b, ab, ba)
		}
		if ab <= 0 && bc <= 0 && (ac > 0 || ac == 0 && (ab != 0 || bc != 0)) {
			t.Fatalf("%+q, %+q, %+q: %d, %d, and %d", a, b, c, ab, bc, ac)
		}
		x, y := norm.NFD.String(a), norm.NFD.String(b)
		if len(a) < 60 && len(b) < 60 && (ab == 0) != (x == y) { // fewer than thirty marks
			t.Fatalf("%+q, %+q: %d; canonically equal: %v", a, b, ab, x == y)
		}
		if compare(x, a) != 0 && len(a) < 60 {
			t.Fatalf("%+q is not its decomposition %+q", a, x)
		}
	})
}

func BenchmarkCompare(b *testing.B) {
	c, ours := root.New(language.Und), new(Collator)
	long := strings.Repeat("Straße ", 50)
	for _, p := range [][2]string{{"apple", "banana"}, {"Content-Type", "content-type"}, {"résumé", "resume"}, {"Київ", "Киев"}, {"東京", "京都"}, {long + "a", long + "b"}} {
		name := fmt.Sprintf("%.12s", p[0])
		b.Run(name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ours.Compare(p[0], p[1])
			}
		})
		b.Run(name+"/xtext", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.CompareString(norm.NFD.String(p[0]), norm.NFD.String(p[1]))
			}
		})
	}
}
