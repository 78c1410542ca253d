package bots

import (
	_ "embed"
	"fmt"
	"strings"
)

// list.txt is what the plugin needs of the public list in crawlers (MIT): a line for each entry with expression, name and
// categories, between tabs. `make generate` writes it.
//
//go:embed list.txt
var list string

// crawler is an entry of the public list.
type crawler struct {
	name       string   // for people: the text of its expression
	categories []string // such as search-engine
	tags       []string // the same as tags of an exchange
}

// crawlers reads the public list: the entries, and their expressions in the same order.
func crawlers() (entries []crawler, expressions []string, err error) {
	for i, line := range strings.Split(strings.TrimSuffix(list, "\n"), "\n") {
		columns := strings.Split(line, "\t")
		if len(columns) != 3 {
			return nil, nil, fmt.Errorf("the public list: line %d has %d columns", i+1, len(columns))
		}
		c := crawler{name: columns[1]}
		if columns[2] != "" {
			c.categories = strings.Split(columns[2], ",")
		}
		for _, category := range c.categories {
			c.tags = append(c.tags, tagBot+":"+category)
		}
		entries, expressions = append(entries, c), append(expressions, columns[0])
	}
	return entries, expressions, nil
}
