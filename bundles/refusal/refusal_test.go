package refusal_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// Every constant has advice, and every code looks like one.
func TestCodes(t *testing.T) {
	source, err := os.ReadFile("codes.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []refusal.Code
	for _, m := range regexp.MustCompile(`Code += "([a-z0-9_]+)"`).FindAllStringSubmatch(string(source), -1) {
		declared = append(declared, refusal.Code(m[1]))
	}
	slices.Sort(declared)
	if !slices.Equal(declared, refusal.Codes()) {
		t.Errorf("declared %q, with advice %q", declared, refusal.Codes())
	}
	if len(slices.Compact(declared)) != len(refusal.Codes()) {
		t.Error("two constants share a code")
	}
	for _, c := range refusal.Codes() {
		if len(c.Advice()) < 12 {
			t.Errorf("%s: the advice says nothing: %q", c, c.Advice())
		}
	}
}

func TestError(t *testing.T) {
	err := fmt.Errorf("plugin %q: %w", "x", refusal.New(refusal.ZipData, "entry %q: %w", "a", io.ErrUnexpectedEOF))
	if got := refusal.CodeOf(err); got != refusal.ZipData {
		t.Errorf("code %q", got)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, &refusal.Error{Code: refusal.ZipData}) || errors.Is(err, &refusal.Error{Code: refusal.ZipName}) {
		t.Error("the cause or the code is lost")
	}
	for _, part := range []string{`entry "a"`, "build it again", "(zip_data)"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if refusal.CodeOf(nil) != "" || refusal.CodeOf(io.EOF) != refusal.Internal {
		t.Error("codes of what is no refusal")
	}
}
