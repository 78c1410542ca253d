package bots

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// TestListIsThePublished: list.txt says what the published list says. -update writes it, as make generate does.
func TestListIsThePublished(t *testing.T) {
	var want strings.Builder
	for _, e := range published(t) {
		want.WriteString(e.Pattern + "\t" + nameOf(t, e.Pattern) + "\t" + strings.Join(e.Tags, ",") + "\n")
	}
	if *update {
		if err := os.WriteFile("list.txt", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if list != want.String() {
		t.Error("list.txt is not what the published list says: run make generate")
	}
	entries, expressions, err := crawlers()
	if err != nil || len(entries) != len(expressions) || len(entries) < 1000 {
		t.Fatalf("%d entries, %d expressions, %v", len(entries), len(expressions), err)
	}
	for i, e := range entries {
		if e.name == "" || len(e.categories) == 0 {
			t.Errorf("line %d: %+v", i+1, e)
		}
	}
}

var update = flag.Bool("update", false, "write list.txt")

// nameOf makes a name of an expression: the first text it looks for, without what stands about the name.
func nameOf(t *testing.T, expression string) string {
	f := factorsOf(parse(t, expression))
	if len(f.texts) == 0 {
		t.Fatalf("%s has no text in it", expression)
	}
	return strings.Trim(f.texts[0], " /()\t:;,")
}
