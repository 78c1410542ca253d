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

// CheckName says why name cannot be the name of a file in a bundle of ours: segments of [A-Za-z0-9._-] with slashes
// between them, none that a system gives a meaning of its own.
func CheckName(name string) error {
	for i := range len(name) {
		c := name[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !plain && !strings.ContainsRune("._-/", rune(c)) {
			return fmt.Errorf("%q has a character other than letters, digits, . _ and -", name)
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
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return fmt.Errorf("%q has a character that cannot be seen", name)
		case unicode.IsMark(r) || r >= 0x1100 && r <= 0x11ff || r == utf8.RuneError:
			// So no name has a second spelling in another normal form of Unicode.
			return fmt.Errorf("%q has a combining character", name)
		}
	}
	return checkSegments(name)
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
