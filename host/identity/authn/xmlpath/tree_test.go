package xmlpath

import (
	"errors"
	"strings"
	"testing"
)

// The axes, on a document whose order is known.
func TestText(t *testing.T) {
	const document = `<?xml version="1.0"?><r k="0"><!--c--><a k="1"><b>x</b>y<b>z</b></a><s:a k="2" l="3"><b/></s:a></r>`
	for expression, want := range map[string]string{
		"/":                                   "xyz",
		"/r/a":                                "xyz",
		"/r/s:a/@l":                           "3",
		"/r/a/b[2]":                           "z",
		"//b[position()=last()]":              "z",
		"/r/*[last()]/@k":                     "2",
		"//b[2]/preceding-sibling::text()":    "y",
		"//b[2]/preceding-sibling::b":         "x",
		"//comment()":                         "c",
		"//b/ancestor::r/@k":                  "0",
		"//a/following-sibling::*/@k":         "2",
		"//b[. = 'z']/../@k":                  "1",
		"string(//@k[. > 1])":                 "2",
		"//*[local-name() = 'a'][2]/@l":       "3",
		"name(//*[@l])":                       "s:a",
		"//missing":                           "",
		"concat('', //missing)":               "",
		"//a/descendant-or-self::b[text()]":   "x",
		"//b[not(node())]/parent::node()/@l":  "3",
		"substring-after(//a, 'x')":           "yz",
		"//a | //s:a":                         "xyz",
		"//b[count(preceding::b) = 1]":        "z",
		"/r/a/text()":                         "y",
		"normalize-space(concat(' ', //@k))":  "0",
		"//*[@k='1' and b='z']/b":             "x",
		"translate(//b[1], 'x', 'w')":         "w",
		"//a[@k][1]/@k":                       "1",
		"//s:a/preceding-sibling::a/@k":       "1",
		"/r/comment()/following-sibling::a/b": "x",
	} {
		q, err := Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := q.Text(document); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", expression, got, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	q, err := Compile("//b[following-sibling::c]")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		document string
		want     error
	}{
		{strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth), nil},
		{strings.Repeat("<a>", maxDepth+1) + strings.Repeat("</a>", maxDepth+1), errLarge},
		{"<a>" + strings.Repeat("x", maxDocument-7) + "</a>", nil},
		{"<a>" + strings.Repeat("x", maxDocument-6) + "</a>", errLarge},
		{"<a>" + strings.Repeat("<c/>", maxNodes-2) + "</a>", nil},
		{"<a>" + strings.Repeat("<c/>", maxNodes-1) + "</a>", errLarge},
		{"<a>" + strings.Repeat("<b/>", maxNodes-2) + "</a>", errSteps},
		{"</a>", errDocument},
		{"", errDocument},
	} {
		if _, err := q.Text(test.document); !errors.Is(err, test.want) {
			t.Errorf("%.20s…: got %v, want %v", test.document, err, test.want)
		}
	}
}
