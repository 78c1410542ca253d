package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
)

// The document has every route, and no other.
func TestDocumentIsWhatIsServed(t *testing.T) {
	f := newFixture(t)
	got := f.must(200, "GET", "/v1/openapi.json", "")
	if got.json(t, "openapi") != "3.1.0" {
		t.Fatalf("got %.100s", got.body)
	}
	routes := map[string]router.Access{}
	for _, r := range f.routes {
		routes[r.Method+" "+r.Path] = r.Access
	}
	ids := map[string]bool{}
	paths := got.json(t, "paths").(map[string]any)
	for path, item := range paths {
		for method, value := range item.(map[string]any) {
			name := strings.ToUpper(method) + " " + path
			a, ok := routes[name]
			if !ok {
				t.Errorf("the document has %s, which nobody serves", name)
			}
			delete(routes, name)
			operation := value.(map[string]any)
			id, _ := operation["operationId"].(string)
			if id == "" || ids[id] {
				t.Errorf("%s: operationId %q is none of its own", name, id)
			}
			ids[id] = true
			if security, said := operation["security"].([]any); said != (a == router.Open) || len(security) > 0 {
				t.Errorf("%s: what the document says of its secret is wrong", name)
			}
			responses := operation["responses"].(map[string]any)
			if _, forbidden := responses["403"]; forbidden != (a != router.Open) {
				t.Errorf("%s: the document is wrong about 403", name)
			}
			testParameters(t, f, name, path, operation)
		}
	}
	for name := range routes {
		t.Errorf("%s is served, and not in the document", name)
	}
}

// testParameters: every variable of the path is a parameter, and every parameter is one that there is.
func testParameters(t *testing.T, f *fixture, name, path string, operation map[string]any) {
	t.Helper()
	var inPath []string
	list, _ := operation["parameters"].([]any)
	components := f.schemas.document["components"].(map[string]any)["parameters"].(map[string]any)
	for _, p := range list {
		ref := strings.TrimPrefix(p.(map[string]any)["$ref"].(string), "#/components/parameters/")
		parameter, ok := components[ref].(map[string]any)
		if !ok {
			t.Errorf("%s: no parameter %s", name, ref)
			continue
		}
		if parameter["in"] == "path" {
			inPath = append(inPath, "{"+parameter["name"].(string)+"}")
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if i := slices.Index(inPath, segment); i >= 0 {
			inPath = slices.Delete(inPath, i, i+1)
		} else if strings.HasPrefix(segment, "{") {
			t.Errorf("%s: %s is no parameter", name, segment)
		}
	}
	if len(inPath) > 0 {
		t.Errorf("%s: %v are not in the path", name, inPath)
	}
}

// Every schema of the document can be compiled, and so every reference in it leads somewhere.
func TestDocumentSchemas(t *testing.T) {
	s := loadSchemas(t)
	checked := 0
	var walk func(value any, at string)
	walk = func(value any, at string) {
		switch v := value.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && !resolves(s.document, ref) {
				t.Errorf("%s: %s leads nowhere", at, ref)
			}
			if _, ok := v["schema"]; ok {
				if _, err := s.compiler.Compile("openapi.json#" + at + "/schema"); err != nil {
					t.Errorf("%s: %v", at, err)
				}
				checked++
			}
			for key, child := range v {
				walk(child, at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
			}
		case []any:
			for i, child := range v {
				walk(child, fmt.Sprintf("%s/%d", at, i))
			}
		}
	}
	walk(s.document, "")
	if checked < 50 {
		t.Errorf("found %d schemas: the test no longer reads the document", checked)
	}
}

func resolves(document any, ref string) bool {
	for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := document.(map[string]any)
		if document = m[key]; document == nil {
			return false
		}
	}
	return true
}
