package sdk

import (
	"encoding/json"
	"slices"
)

// TagsValue names the value under which hooks leave an exchange's tags: a JSON array of texts.
const TagsValue = "tags"

// maxTags bounds what Tags reads and Tag writes: tags are few words about a request, not data.
const maxTags = 64

// Tag adds tags that the exchange does not have yet. Later hooks read them by Tags, wherever they run; the gateway counts
// by them where a definition has rates of tags, and puts them into the record and the access log. It is a value of the
// exchange ([TagsValue]), and so changes what Exchange.Changes tells of values. No more than 64 are kept.
func (x *Exchange) Tag(tags ...string) {
	have := x.Tags()
	n := len(have)
	for _, t := range tags {
		if len(have) < maxTags && t != "" && !slices.Contains(have, t) {
			have = append(have, t)
		}
	}
	if len(have) == n {
		return
	}
	data, err := json.Marshal(have)
	if err != nil {
		return // texts can always be encoded
	}
	x.SetValue(TagsValue, data)
}

// Tags returns the tags that hooks have given the exchange, in a new slice; nil when there are none, or when what is left
// under [TagsValue] is not an array of texts.
func (x *Exchange) Tags() []string {
	data := x.Value(TagsValue)
	if data == nil {
		return nil
	}
	var tags []string
	if json.Unmarshal(data, &tags) != nil {
		return nil
	}
	return tags[:min(len(tags), maxTags)]
}
