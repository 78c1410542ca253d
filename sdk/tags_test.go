package sdk_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestTags(t *testing.T) {
	var x sdk.Exchange
	x.Reset(sdk.Init{})
	x.Begin(sdk.Pre, nil, false)
	if x.Tags() != nil {
		t.Fatal("tags from nowhere")
	}
	x.Tag("bot", "", "bot:seo")
	x.Tag("bot")
	if got := x.Tags(); !slices.Equal(got, []string{"bot", "bot:seo"}) {
		t.Errorf("tags %q", got)
	}
	if string(x.Value(sdk.TagsValue)) != `["bot","bot:seo"]` || x.Changes()&sdk.ChangedValues == 0 {
		t.Errorf("left %s, changes %b", x.Value(sdk.TagsValue), x.Changes())
	}
	x.Begin(sdk.Post, nil, false)
	x.Tag("bot")
	if x.Changes() != 0 {
		t.Error("a tag that is there already is no change")
	}
	for i := range 100 {
		x.Tag(fmt.Sprint(i))
	}
	if n := len(x.Tags()); n != 64 {
		t.Errorf("%d tags", n)
	}
	for _, garbage := range []string{`{}`, `"bot"`, `[1]`, `[`} {
		x.SetValue(sdk.TagsValue, []byte(garbage))
		if got := x.Tags(); got != nil {
			t.Errorf("%s: tags %q", garbage, got)
		}
	}
}
