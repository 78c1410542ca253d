package pattern

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFind(t *testing.T) {
	tests := []struct {
		subject, pattern string
		init             int
		want             string // start,end and captures in the form below; "": no match
	}{
		{"hello world", "wor", 0, "6,9"},
		{"hello", "l+", 0, "2,4"},
		{"hello", "^ell", 0, ""},
		{"hello", "^hel", 0, "0,3"},
		{"hello", "^l", 2, "2,3"},
		{"hello", "lo$", 0, "3,5"},
		{"a$b", "a$b", 0, "0,3"},
		{"", "", 0, "0,0"},
		{"", "x*", 0, "0,0"},
		{"key = value", "^(%w+)%s*=%s*(%w+)$", 0, "0,11 (key) (value)"},
		{"abc", "()b()", 0, "1,2 @1 @2"},
		{"f(a(b)c)d", "%b()", 0, "1,8"},
		{"f(a", "%b()", 0, ""},
		{"THE (quick) fox", "%f[%a]%a+", 5, "5,10"},
		{"THE (quick) fox", "%f[%z]", 0, "15,15"},
		{"say 'hi' \"no\"", "(['\"])(.-)%1", 0, "4,8 (') (hi)"},
		{"<<a>>", "<(.-)>", 0, "0,4 (<a)"},
		{"aaa", "a-b", 0, ""},
		{"aab", "a-b", 0, "0,3"},
		{"colour color", "colou?r", 1, "7,12"},
		{"x-y", "[a%-]y", 0, "1,3"},
		{"x]y", "[]]", 0, "1,2"},
		{"x^y", "[x^]+", 0, "0,2"},
		{"abc", "[^a]+", 0, "1,3"},
		{"a1_", "%W", 0, "2,3"},
		{"\x00\xff", "%z.", 0, "0,2"},
		{"50%", "%d+%%", 0, "0,3"},
		{"0xAf", "%x+$", 0, "2,4"},
		{"a.b", "%.", 0, "1,2"},
		{"((x))", "((%()(%())", 0, "0,2 ((() (() (()"},
	}
	for _, tt := range tests {
		m := Matcher{Subject: tt.subject, Pattern: tt.pattern}
		start, end, ok, err := m.Find(tt.init)
		if err != nil {
			t.Errorf("%q in %q: %v", tt.pattern, tt.subject, err)
			continue
		}
		got := ""
		if ok {
			got = itoa(start) + "," + itoa(end)
			for i := range m.Captures() {
				c, err := m.Capture(i)
				switch {
				case err != nil:
					got += " " + err.Error()
				case c.At:
					got += " @" + itoa(c.Start)
				default:
					got += " (" + tt.subject[c.Start:c.End] + ")"
				}
			}
		}
		if got != tt.want {
			t.Errorf("%q in %q: got %q, want %q", tt.pattern, tt.subject, got, tt.want)
		}
	}
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + string(rune('0'+n%10))
	}
	return string(rune('0' + n))
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{"%", "[a", "[", "[^", "[]", "(a", "a)", "%1", "(%1)", "%b", "%bx", "%f", "%fa", "[%", strings.Repeat("()", 33), "%0"} {
		m := Matcher{Subject: "aaaa", Pattern: p}
		_, _, ok, err := m.Find(0)
		if ok && err == nil {
			for i := range m.Captures() {
				if _, err = m.Capture(i); err != nil {
					break
				}
			}
		}
		if err == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

// TestStop: a search that would take for ever ends when it is told to.
func TestStop(t *testing.T) {
	for _, p := range []string{strings.Repeat("a-", 25) + "b", strings.Repeat("(a*)", 25) + "b", strings.Repeat("a?", 30) + strings.Repeat("a", 30) + "b", "(.-)(.-)(.-)(.-)(.-)b"} {
		asked := 0
		m := Matcher{Subject: strings.Repeat("a", 200), Pattern: p, Stop: func() bool { asked++; return asked == 100 }}
		if _, _, ok, err := m.Find(0); ok || !errors.Is(err, ErrStopped) {
			t.Errorf("%q: got %v, %v", p, ok, err)
		}
	}
	deep := Matcher{Subject: strings.Repeat("a", 5000), Pattern: strings.Repeat("a?", 5000)}
	if _, _, _, err := deep.Find(0); !errors.Is(err, ErrComplex) {
		t.Errorf("got %v, want %v", err, ErrComplex)
	}
}

func FuzzFind(f *testing.F) {
	f.Add("key = value", "^(%w+)%s*=%s*(%w+)$", 0)
	f.Add("((x))", "%b()%f[%z]", 3)
	f.Add("aXbX", "(.)X%1*[]%]-a]", 1)
	f.Fuzz(func(t *testing.T, subject, p string, init int) {
		if init < 0 || init > len(subject) {
			return
		}
		left := 1000
		m := Matcher{Subject: subject, Pattern: p, Stop: func() bool { left--; return left < 0 }}
		start, end, ok, err := m.Find(init)
		if err != nil || !ok {
			return
		}
		if start < init || end < start || end > len(subject) {
			t.Fatalf("got %d to %d of %d", start, end, len(subject))
		}
		for i := range m.Captures() {
			if c, err := m.Capture(i); err == nil && (c.Start < start || c.End > end || c.Start > c.End) {
				t.Fatalf("capture %d is %+v of %d to %d", i, c, start, end)
			}
		}
		if utf8.ValidString(p) && !strings.ContainsAny(p, "%[(.^$*+-?)]") && subject[start:end] != p {
			t.Fatalf("a plain pattern matched %q", subject[start:end])
		}
	})
}
