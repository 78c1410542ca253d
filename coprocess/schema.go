package coprocess

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Schema is what a plugin says the configuration of its hooks has to look like. A nil Schema takes anything. It is
// immutable.
type Schema struct {
	plugin   string
	compiled *jsonschema.Schema
}

// NewSchema compiles the JSON Schema of the plugin of that name; nil or an empty one is none. A schema stands alone: what
// it refers to outside itself is neither read nor fetched, and an error.
func NewSchema(plugin string, schema []byte) (*Schema, error) {
	if len(schema) == 0 {
		return nil, nil
	}
	bad := func(err error) (*Schema, error) {
		return nil, fmt.Errorf("%w: plugin %q: its config schema is no JSON Schema: %s", sdk.ErrProtocol, plugin, oneLine(err.Error()))
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return bad(err)
	}
	const url = "config:schema"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // of no scheme at all
	if err := compiler.AddResource(url, doc); err != nil {
		return bad(err)
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return bad(err)
	}
	return &Schema{plugin, compiled}, nil
}

// Hook is NewHook for a dispatcher that knows its plugin's schema: it refuses a configuration that is not as s has it.
func (s *Schema) Hook(d Dispatcher, use sdk.HookUse) (sdk.Hook, error) {
	h, err := NewHook(d, use)
	if err != nil {
		return nil, err
	}
	if err := s.Check(&use); err != nil {
		return nil, err
	}
	return h, nil
}

// Check says where the configuration a use of a hook ends up with, its own or its route's, is not as the schema has it;
// none counts as {}. The error names plugin, hook and JSON path.
func (s *Schema) Check(u *sdk.HookUse) error {
	if s == nil {
		return nil
	}
	config := u.Config
	if len(config) == 0 {
		config = u.Route.Config
	}
	if len(config) == 0 {
		config = []byte("{}")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(config))
	if err != nil {
		return fmt.Errorf("plugin %q: config of hook %q: $: not JSON: %w", s.plugin, u.Name, err)
	}
	if err = s.compiled.Validate(value); err == nil {
		return nil
	}
	return fmt.Errorf("plugin %q: config of hook %q: %s", s.plugin, u.Name, problems(err))
}

// maxProblems is how many problems of one configuration an error names.
const maxProblems = 5

func problems(err error) string {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return oneLine(err.Error())
	}
	var all []string
	var leaves func(unit *jsonschema.OutputUnit)
	leaves = func(unit *jsonschema.OutputUnit) {
		if len(unit.Errors) == 0 && unit.Error != nil {
			all = append(all, jsonPath(unit.InstanceLocation)+": "+oneLine(unit.Error.String()))
		}
		for i := range unit.Errors {
			leaves(&unit.Errors[i])
		}
	}
	leaves(invalid.DetailedOutput())
	if more := len(all) - maxProblems; more > 0 {
		all = append(all[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// jsonPath writes a JSON pointer (RFC 6901) as the path that definitions are complained of with (RFC 9535).
func jsonPath(pointer string) string {
	path := "$"
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch {
		case plain(step):
			path += "." + step
		case step != "" && strings.Trim(step, "0123456789") == "":
			path += "[" + step + "]"
		default:
			quoted, _ := json.Marshal(step) // a string always can be
			path += "[" + string(quoted) + "]"
		}
	}
	return path
}

// plain reports whether a path names the member without quotes.
func plain(member string) bool {
	for i, c := range member {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return member != ""
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }
