package host

import (
	"slices"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What a hook says an exchange is known by, later hooks, records, and the reply have, whoever answers.
func TestCorrelation(t *testing.T) {
	var later []string
	k := newKeyed(t, map[string]sdk.Hook{
		"correlate": fn(func(x *sdk.Exchange) error {
			return x.Correlate(sdk.Correlation{ID: x.Request().Header().Get("X-Id"), Reply: "X-Known-As"})
		}),
		"garbage": fn(func(x *sdk.Exchange) error {
			x.SetValue(sdk.CorrelationValue, []byte(`{"id":"a b"}`))
			return nil
		}),
		"later": fn(func(x *sdk.Exchange) error {
			later = append(later, x.RequestID())
			if x.Request().Header().Get("X-Refuse") != "" {
				return sdk.Errorf(418, "no")
			}
			return nil
		}),
	}, nil)
	k.load(t, ownAPI+"observers: [{observer: o}]\nhooks: {pre: [{hook: correlate}, {hook: garbage}, {hook: later}]}\n")
	c, got := k.ask(t, "/a/", "X-Id: one")
	if got != "200 up:/" || !slices.Equal(c.get("X-Known-As"), []string{"one"}) {
		t.Errorf("%s %v", got, c.header)
	}
	c, got = k.ask(t, "/a/", "X-Id: two", "X-Refuse: y")
	if got != "418 no" || !slices.Equal(c.get("X-Known-As"), []string{"two"}) {
		t.Errorf("%s %v", got, c.header)
	}
	if c, _ = k.ask(t, "/a/", "X-Id: a b"); c.get("X-Known-As") != nil {
		t.Errorf("an id that is none: %v", c.header)
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(later, []string{"one", "two"}) {
		t.Errorf("a later hook saw %q", later)
	}
	var ids []string
	for _, b := range k.w.batches {
		for _, r := range b.Records {
			ids = append(ids, r.RequestID)
		}
	}
	slices.Sort(ids)
	if len(ids) != 3 || !slices.Equal(ids[1:], []string{"one", "two"}) {
		t.Errorf("records of %q", ids)
	}
}
