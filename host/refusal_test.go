package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What a load refuses is listed: what each is, where it is written, why, and whether its route goes on as it was.
func TestLoadTellsWhatIsRefused(t *testing.T) {
	g, w := gateway(t), newWorld(map[string]sdk.Hook{"h": fn(func(*sdk.Exchange) error { return nil })})
	a := at(t, "a", "/a", "hooks: {pre: [{hook: h}]}")
	if err := load(t, g, w, a, at(t, "b", "/b", "")); err != nil {
		t.Fatal(err)
	}
	w.failure = errors.New("no certificate")
	torn := config.Problem{File: "b.yaml", Line: 3, Col: 1, Path: "$.listen", Message: "torn"}
	set := config.Set{Definitions: []*config.Definition{a}, Refused: []config.Refused{
		{File: "b.yaml", Identity: config.Identity{ID: "b"}, Problems: config.Problems{torn}},
		{File: "c.yaml", Identity: config.Identity{ID: "c", ListenPath: "/c", Host: "c.example"}, Problems: config.Problems{
			{File: "c.yaml", Message: "one"}, {File: "c.yaml", Message: "two"}}},
	}}
	err := g.Load(t.Context(), set, w, true)
	var refused *RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, w.failure) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, r := range refused.Refusals {
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%s|%s", r.ID, r.Host, r.ListenPath, r.File, r.State, r.Reason))
	}
	want := []string{
		"a||/a|a.yaml|stale|a.yaml: api a: ",
		"b|||b.yaml|stale|b.yaml:3:1: $.listen: torn",
		"c|c.example|/c|c.yaml|refused|c.yaml: one\nc.yaml: two",
	}
	for i, line := range got {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("got  %s\nwant %s", line, want[i])
		}
	}
	if len(got) != len(want) || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("got %d refusals: %v", len(got), err)
	}
	if b, err := json.Marshal(refused.Refusals[1]); err != nil ||
		string(b) != `{"id":"b","file":"b.yaml","state":"stale","reason":"b.yaml:3:1: $.listen: torn"}` {
		t.Errorf("got %s, %v", b, err)
	}
	g.StartClosing()
	if err := g.Load(t.Context(), set, w, false); !errors.Is(err, ErrClosing) {
		t.Errorf("while closing: %v", err)
	}
}
