package host

import (
	"slices"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What hooks tag, before the limits or after them, records have; requests with a tag that has a rate count in it, whoever
// calls, and others do not.
func TestTags(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{
		"classify": fn(func(x *sdk.Exchange) error {
			if kind := x.Request().Header().Get("X-Kind"); kind != "" {
				x.Tag("bot", "bot:"+kind)
			}
			return nil
		}),
		"late": fn(func(x *sdk.Exchange) error {
			x.Tag("late")
			return nil
		}),
	}, nil)
	k.load(t, ownAPI+"tags: [team-a]\nobservers: [{observer: o}]\nhooks: {pre: [{hook: classify}], post: [{hook: late}]}\n"+
		"limits: {tags: {bot: {requests: 2, per: 1h}, \"bot:seo\": {requests: 1, per: 1h}}}\n")
	for _, ask := range []struct{ header, want string }{
		{"X-Kind: seo", "200 up:/"},
		{"X-Kind: seo", "429 API Rate Limit Exceeded"},
		{"X-Kind: search", "200 up:/"},
		{"X-Kind: search", "429 API Rate Limit Exceeded"},
		{"X-Kind:", "200 up:/"},
		{"X-Kind:", "200 up:/"},
		{"X-Kind:", "200 up:/"},
	} {
		if _, got := k.ask(t, "/a/", ask.header); got != ask.want {
			t.Errorf("%s: got %s, want %s", ask.header, got, ask.want)
		}
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var tags [][]string
	for _, b := range k.w.batches {
		for _, r := range b.Records {
			tags = append(tags, r.Tags)
		}
	}
	for _, want := range [][]string{{"team-a", "bot", "bot:seo", "late"}, {"team-a", "bot", "bot:seo"}, {"team-a", "late"}} {
		if !slices.ContainsFunc(tags, func(got []string) bool { return slices.Equal(got, want) }) {
			t.Errorf("no record has %q: %q", want, tags)
		}
	}
}
