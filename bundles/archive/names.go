package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// Bounds of a file's name.
const (
	MaxName     = 240 // bytes
	MaxSegments = 16
)

// CheckName says why name cannot be the name of a file in a bundle of ours: segments of [A-Za-z0-9._@+-] with slashes
// between them, none that a system gives a meaning of its own. The @ is npm's.
func CheckName(name string) error {
	for i := range len(name) {
		c := name[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !plain && !strings.ContainsRune("._@+-/", rune(c)) {
			return fmt.Errorf("%q has a character other than letters, digits, . _ @ + and -", name)
		}
	}
	return checkSegments(name)
}

// checkOpenName is CheckName for archives of others: letters of any language, blanks and most signs as well.
func checkOpenName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("%q is not UTF-8", name)
	}
	for _, r := range name {
		switch {
		case strings.ContainsRune(`\:*?"<>|`, r):
			return fmt.Errorf("%q has a character that some systems do not allow", name)
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Z, r) && r != ' ' || unicode.Is(blank, r):
			return fmt.Errorf("%q has a character that cannot be seen", name)
		case unicode.IsMark(r) || unicode.Is(respelled, r) || r == utf8.RuneError:
			return fmt.Errorf("%q has a character that some systems spell otherwise", name)
		}
	}
	for segment := range strings.SplitSeq(name, "/") {
		if i := strings.LastIndexByte(segment, ';'); i >= 0 && strings.Trim(segment[i+1:], "0123456789") == "" {
			return fmt.Errorf("%q ends like a version of VMS, which unzip cuts off", name)
		}
	}
	return checkSegments(name)
}

// blank are letters and signs without ink.
var blank = &unicode.RangeTable{R16: []unicode.Range16{{0x2800, 0x2800, 1}, {0x3164, 0x3164, 1}, {0xffa0, 0xffa0, 1}}}

// respelled are, besides marks, the characters that a normal form of Unicode (UAX #15) writes otherwise, or that are
// several when case is folded in full: file systems that do either would take two names for one. Blocks in which most
// do are refused whole.
var respelled = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0130, 0x0130, 1}, {0x0149, 0x0149, 1}, {0x01f0, 0x01f0, 1}, {0x0374, 0x0374, 1}, {0x037e, 0x037e, 1}, {0x0387, 0x0387, 1},
		{0x0390, 0x0390, 1}, {0x03b0, 0x03b0, 1}, {0x0587, 0x0587, 1}, {0x0958, 0x095f, 1}, {0x09dc, 0x09df, 1}, {0x0a33, 0x0a36, 1},
		{0x0a59, 0x0a5e, 1}, {0x0b5c, 0x0b5d, 1}, {0x0f43, 0x0f69, 1}, {0x1100, 0x11ff, 1}, {0x1e96, 0x1e9a, 1}, {0x1f00, 0x1fff, 1},
		{0x2126, 0x2126, 1}, {0x212a, 0x212b, 1}, {0x2329, 0x232a, 1}, {0x2adc, 0x2adc, 1}, {0xa960, 0xa97f, 1}, {0xd7b0, 0xd7ff, 1},
		{0xf900, 0xfaff, 1}, {0xfb00, 0xfb4f, 1},
	},
	R32: []unicode.Range32{{0x1d15e, 0x1d164, 1}, {0x1d1bb, 0x1d1c0, 1}, {0x2f800, 0x2fa1f, 1}},
}

func checkSegments(name string) error {
	segments := strings.Split(name, "/")
	switch {
	case name == "":
		return errors.New("a file without a name")
	case len(name) > MaxName:
		return fmt.Errorf("%.40q… is longer than %d bytes", name, MaxName)
	case len(segments) > MaxSegments:
		return fmt.Errorf("%.40q… lies deeper than %d folders", name, MaxSegments)
	case name[0] == '/':
		return fmt.Errorf("%q is an absolute path", name)
	}
	for _, s := range segments {
		switch {
		case s == "":
			return fmt.Errorf("%q has an empty segment", name)
		case s == "." || s == "..":
			return fmt.Errorf("%q has a segment %q", name, s)
		case strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") || strings.HasPrefix(s, " "):
			return fmt.Errorf("%q has a segment with a dot or a blank at its end", name)
		case device(s):
			return fmt.Errorf("%q has the name of a device of Windows", name)
		}
	}
	return nil
}

func device(segment string) bool {
	base, _, _ := strings.Cut(strings.ToLower(segment), ".")
	if slices.Contains([]string{"con", "prn", "aux", "nul", "clock$", "conin$", "conout$"}, base) {
		return true
	}
	rest, com := strings.CutPrefix(base, "com")
	if !com {
		rest, com = strings.CutPrefix(base, "lpt")
	}
	return com && (len(rest) == 1 && rest[0] >= '0' && rest[0] <= '9' || slices.Contains([]string{"¹", "²", "³"}, rest))
}

// Fold returns a key that names share which some file system takes for the same.
func Fold(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.ToUpper(name)), "ß", "ss") // as full folding has it
}

// CheckTree refuses names that cannot all be files of one folder: two that are the same when case is folded, and a
// file that another one takes for a folder. Names of folders end in a slash; one may stand beside files in it.
func CheckTree(names []string) error {
	seen := make(map[string]string, len(names))
	for _, name := range names {
		key := Fold(strings.TrimSuffix(name, "/"))
		if first, twice := seen[key]; twice {
			return refusal.New(refusal.ZipDuplicate, "the names %q and %q are the same", first, name)
		}
		seen[key] = name
	}
	folders := make(map[string]string, len(names)) // as first spelled
	for _, name := range names {
		for i, c := range strings.TrimSuffix(name, "/") {
			if c != '/' {
				continue
			}
			folder := name[:i]
			if file, ok := seen[Fold(folder)]; ok && !strings.HasSuffix(file, "/") {
				return refusal.New(refusal.ZipDuplicate, "%q is a file and the folder of %q", file, name)
			}
			if first, ok := folders[Fold(folder)]; ok && first != folder {
				return refusal.New(refusal.ZipDuplicate, "the folders %q and %q are the same", first, folder)
			}
			folders[Fold(folder)] = folder
		}
	}
	return nil
}
