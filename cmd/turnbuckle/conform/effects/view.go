package effects

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// view is a snapshot as it is compared and printed: names and values. A report in the reply is taken apart.
func view(s *sdk.Snapshot, protocol string, phase sdk.Phase) map[string]any {
	v := map[string]any{
		"method": s.Request.Method, "path": s.Request.Path, "query": s.Request.Query, "request headers": lines(s.Request.Header),
		"request body": string(s.Request.Body), "answered": s.Answered, "status": s.Response.Status, "values": s.Values,
	}
	if len(s.Values) == 0 {
		delete(v, "values")
	}
	if s.Session != nil {
		v["session"] = *s.Session
	}
	var report map[string]any
	if strings.HasPrefix(string(s.Response.Body), "{") && json.Unmarshal(s.Response.Body, &report) == nil {
		for name, value := range seen(report, protocol, phase) {
			v["the hook saw "+name] = value
		}
		v["response headers"] = lines(slices.DeleteFunc(slices.Clone(s.Response.Header), func(f sdk.Field) bool { return sdk.EqualFold(f.Name, "Content-Length") }))
		return v
	}
	v["response headers"], v["response body"] = lines(s.Response.Header), string(s.Response.Body)
	return v
}

func lines(fields []sdk.Field) []string {
	all := []string{}
	for _, f := range fields {
		all = append(all, fmt.Sprintf("%s: %q", f.Name, f.Value))
	}
	return all
}

// seen is what of a report counts: all of it, but with Tyk's protocol only what that carries.
func seen(told map[string]any, protocol string, phase sdk.Phase) map[string]any {
	delete(told, "observed")
	for name, value := range told {
		if isEmpty(value) {
			delete(told, name)
		}
	}
	if protocol == report.Native {
		return told
	}
	kept := map[string]any{}
	for _, name := range []string{"phase", "method", "path", "query", "uri", "scheme", "body", "param_q", "note"} {
		if value, ok := told[name]; ok {
			kept[name] = value
		}
	}
	kept["headers"] = firstValues(told["headers"])
	if session, ok := told["session"].(map[string]any); ok && (phase == sdk.PostKeyAuth || phase == sdk.Post) {
		delete(session, "key_id") // Tyk's gateway does not send it
		kept["session"] = session
	}
	if reply, ok := told["response"].(map[string]any); ok && phase == sdk.ResponsePhase {
		kept["response"] = reply
	}
	return kept
}

// isEmpty reports whether a key might as well be absent.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func firstValues(list any) map[string]any {
	first := map[string]any{}
	all, _ := list.([]any)
	for _, line := range all {
		pair, _ := line.([]any)
		if len(pair) != 2 {
			continue
		}
		name := strings.ToLower(fmt.Sprint(pair[0]))
		if _, ok := first[name]; !ok && name != "host" {
			first[name] = pair[1]
		}
	}
	return first
}

// differences lists what is not as wanted.
func differences(want, got map[string]any) []string {
	var list []string
	names := slices.Sorted(maps.Keys(want))
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if w, g := want[name], got[name]; !reflect.DeepEqual(w, g) && !(isEmpty(w) && isEmpty(g)) {
			list = append(list, fmt.Sprintf("%s: got %s, want %s", name, shown(g), shown(w)))
		}
	}
	return list
}

const shownBytes = 200

func shown(v any) string {
	if text, ok := v.(string); ok {
		if plain, err := base64.StdEncoding.DecodeString(text); err == nil && len(text) >= 8 {
			return fmt.Sprintf("%s (%.*q)", short(text), shownBytes, plain)
		}
		return short(fmt.Sprintf("%q", text))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return short(fmt.Sprintf("%+v", v))
	}
	return short(string(b))
}

func short(text string) string {
	if len(text) > shownBytes {
		return fmt.Sprintf("%s… (%d bytes)", text[:shownBytes], len(text))
	}
	return text
}
