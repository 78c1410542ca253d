package document

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDeeper(t *testing.T) {
	tests := []struct {
		text   string
		levels int
		want   bool
	}{
		{``, 0, false}, {`1`, 0, false}, {`{}`, 0, true}, {`{}`, 1, false}, {`[{}]`, 1, true}, {`[{}]`, 2, false},
		{`[[],[],[]]`, 2, false}, {`["[[[["]`, 1, false}, {`["\"[[[["]`, 1, false}, {`["\\",[[]]]`, 2, true}, {`{"a\"{":{"b":[1]}}`, 2, true},
		{strings.Repeat("[", 65), 64, true}, {strings.Repeat("[", 64) + strings.Repeat("]", 64), 64, false},
	}
	for _, tt := range tests {
		if got := Deeper([]byte(tt.text), tt.levels); got != tt.want {
			t.Errorf("%s below %d levels: got %v", tt.text, tt.levels, got)
		}
	}
}

// What a strict reader counts, in JSON, is what Deeper does.
func FuzzDeeper(f *testing.F) {
	f.Add(`{"a":[1,{"b\"[":[[]]}]}`)
	f.Add(`"\\"`)
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		d, depth, deepest := json.NewDecoder(strings.NewReader(text)), 0, 0
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
			deepest = max(deepest, depth)
		}
		if Deeper([]byte(text), deepest) || deepest > 0 && !Deeper([]byte(text), deepest-1) {
			t.Errorf("%q is %d deep", text, deepest)
		}
	})
}
