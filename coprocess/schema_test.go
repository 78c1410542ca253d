package coprocess

import (
	"errors"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestSchema(t *testing.T) {
	const schema = `{
		"type": "object", "required": ["realm"], "additionalProperties": false,
		"properties": {"realm": {"type": "string"}, "list": {"type": "array", "items": {"$ref": "#/$defs/n"}}, "a b": {"type": "null"}},
		"$defs": {"n": {"type": "integer", "minimum": 3}}
	}`
	s, err := NewSchema("door", []byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ config, route, want string }{
		{`{"realm":"x"}`, "", ""},
		{"", `{"realm":"x","list":[3,4]}`, ""},
		{`{"realm":"x"}`, `{"realm":5}`, ""},
		{"", "", `$: missing property 'realm'`},
		{`{"realm":5}`, `{"realm":"x"}`, `$.realm: got number, want string`},
		{`{"realm":"x","list":[3,"y",1]}`, "", `$.list[2]: minimum: got 1, want 3`},
		{`{"realm":"x","a b":1}`, "", `$["a b"]: got number, want null`},
		{`{"realm":"x","other":1}`, "", `'other'`},
		{`[1`, "", `$: not JSON`},
		{`{"realm":"x","list":[1,1,1,1,1,1,1,1]}`, "", `and 3 more`},
	} {
		err := s.Check(&sdk.HookUse{Name: "H", Config: []byte(tt.config), Route: &sdk.Route{Config: []byte(tt.route)}})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s, route's %s: got %v", tt.config, tt.route, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `plugin "door": config of hook "H": $`)):
			t.Errorf("%s, route's %s: got %v, want %s", tt.config, tt.route, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("more than one line: %v", err)
		}
	}
	if none, err := NewSchema("door", nil); err != nil || none.Check(&sdk.HookUse{}) != nil {
		t.Errorf("no schema: got %v, %v", none, err)
	}
}

// TestSchemaThatIsNone: among them those that would have the host read a file or ask the network.
func TestSchemaThatIsNone(t *testing.T) {
	for _, schema := range []string{
		`{`, `{"type": 5}`, `{"$ref": "#/nowhere"}`, `{"$ref": "file:///etc/passwd"}`, `{"$ref": "http://127.0.0.1:1/x.json"}`,
		`{"$schema": "https://example.org/own"}`, `{"pattern": "("}`,
	} {
		if _, err := NewSchema("door", []byte(schema)); !errors.Is(err, sdk.ErrProtocol) || !strings.Contains(err.Error(), `plugin "door"`) {
			t.Errorf("%s: got %v", schema, err)
		}
	}
}
