package main

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Whoever asks for help finds an example of each command, which is one: its words are commands, its flags are theirs.
func TestHelp(t *testing.T) {
	root := newRoot(&env{stdout: io.Discard, stderr: io.Discard})
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		seen++
		name := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its line in the list is %q", name, cmd.Short)
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", name)
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			checkExample(t, root, name, line)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(root)
	if seen < 30 {
		t.Errorf("only %d commands", seen)
	}
}

var exampleFlag = regexp.MustCompile(`(?:^| )(--?[a-z][a-z0-9-]*)`)

func checkExample(t *testing.T, root *cobra.Command, of, line string) {
	t.Helper()
	for part := range strings.SplitSeq(line, "&&") {
		part, _, _ = strings.Cut(part, "|")
		words := strings.Fields(part)
		at := slices.Index(words, "turnbuckle")
		if at < 0 {
			continue
		}
		cmd, _, err := root.Find(words[at+1:])
		if err != nil || cmd == root && len(words) > at+1 && !strings.HasPrefix(words[at+1], "-") {
			t.Errorf("%s: the example %q is no command", of, line)
			continue
		}
		if cmd.Name() == "conform" { // what stands behind the command is the command's
			continue
		}
		for _, m := range exampleFlag.FindAllStringSubmatch(quoted.ReplaceAllString(part, "X"), -1) {
			name := strings.TrimLeft(m[1], "-")
			if len(m[1]) == 2 {
				if cmd.Flags().ShorthandLookup(name) == nil {
					t.Errorf("%s: the example %q: %s has no flag %s", of, line, cmd.CommandPath(), m[1])
				}
			} else if cmd.Flag(name) == nil && name != "help" {
				t.Errorf("%s: the example %q: %s has no flag %s", of, line, cmd.CommandPath(), m[1])
			}
		}
	}
}

// quoted are arguments in which anything may stand.
var quoted = regexp.MustCompile(`'[^']*'|"[^"]*"|\$\([^)]*\)`)
