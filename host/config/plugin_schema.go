package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// CheckConfig returns what a config lacks by the plugin's schema; nil config counts as {}. The
// paths begin at the config.
func (p *Plugin) CheckConfig(config json.RawMessage) Problems {
	if p.schema == nil {
		return nil
	}
	if config == nil {
		config = json.RawMessage("{}")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(config))
	if err != nil {
		return Problems{{Path: "$", Severity: SeverityError, Message: "not JSON: " + err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	err = p.schema.Validate(value)
	if err == nil {
		return nil
	}
	if !errors.As(err, &invalid) {
		return Problems{{Path: "$", Severity: SeverityError, Message: err.Error()}}
	}
	var problems Problems
	for _, unit := range invalid.BasicOutput().Errors {
		if unit.Error == nil {
			continue
		}
		path, at := below(value, p.schema, unit.InstanceLocation)
		if more, ok := unit.Error.Kind.(*kind.AdditionalProperties); ok {
			for _, key := range more.Properties {
				problems = append(problems, Problem{Path: document.Join(path, key), Severity: SeverityError, Message: unknownKey(key, at)})
			}
			continue
		}
		problems = append(problems, Problem{Path: path, Severity: SeverityError, Message: unit.Error.String()})
	}
	return problems
}

// unknownKey says that a schema knows no such key, and which may be meant.
func unknownKey(key string, s *jsonschema.Schema) string {
	var known []string
	if s != nil {
		known = sortedKeys(s.Properties)
	}
	if hint := document.Suggest(key, known); hint != "" {
		return fmt.Sprintf("unknown key %q: %s", key, hint)
	}
	return fmt.Sprintf("unknown key %q", key)
}

// below turns a JSON pointer (RFC 6901) into value into a JSON path. It returns the schema of what is there, too, if the
// way there is by properties and items alone.
func below(value any, s *jsonschema.Schema, pointer string) (path string, at *jsonschema.Schema) {
	path = "$"
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := value.(type) {
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return path, nil
			}
			path, value = document.Index(path, i), v[i]
			if s != nil {
				s = s.Items2020
			}
		case map[string]any:
			path, value = document.Join(path, step), v[step]
			if s != nil {
				s = s.Properties[step]
			}
		default:
			return path, nil
		}
	}
	return path, s
}
