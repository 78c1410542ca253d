package xmlpath

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// What it takes, encoding/xml takes with its checks on, and it keeps within its bounds.
func FuzzText(f *testing.F) {
	f.Add("<a><id>abc</id></a>")
	f.Add(`<a:b c="d"><!-- e --><![CDATA[f]]><?g h?></a:b>`)
	var queries []*Query
	for _, e := range []string{"//id", "concat(/*/@id, string(//id[last()]))", "//*[substring(., 1, number(@n)) = 'a']/preceding::*", "//a/ancestor-or-self::node()[2]"} {
		q, err := Compile(e)
		if err != nil {
			f.Fatal(err)
		}
		queries = append(queries, q)
	}
	f.Fuzz(func(t *testing.T, document string) {
		parsed, err := parseTree(document)
		if err == nil && (len(parsed.nodes) > maxNodes || !wellFormed(document)) {
			t.Fatalf("takes %q", document)
		}
		for _, q := range queries {
			if text, err := q.Text(document); err != nil && text != "" || len(text) > 2*len(document) {
				t.Fatalf("%q: got %q, %v", document, text, err)
			}
		}
	})
}

func wellFormed(s string) bool {
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); err != nil {
			return err == io.EOF
		}
	}
}
