package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/definitions"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

func checkCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate settings, plugin folders and API definitions without serving",
		Long: `Check reads what serve would read and lists every problem with its place. It exits with 1 when a
problem is an error, which refuses the settings or an API. Fields of classic definitions that are known and have no
effect here are listed as ignored.`,
		Example: `  turnbuckle check
  turnbuckle check --apis ./apis --config turnbuckle.yaml
  turnbuckle check --json | jq '.problems[] | select(.severity == "error")'`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	source := addSettingFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := source().Load()
		if err != nil {
			return err
		}
		problems := loaded.Problems
		served, refused := 0, 0
		if !problems.Refused() {
			var found config.Problems
			if found, served, refused, err = definitions.Check(cmd.Context(), &loaded.Settings, e.environ, version); err != nil {
				return err
			}
			problems = append(problems, found...)
		}
		problems = problems.Sort()
		if *asJSON {
			err = checkJSON(e.stdout, loaded, problems, served, refused)
		} else {
			err = checkText(e.stdout, loaded, problems, served, refused)
		}
		if err != nil {
			return err
		}
		if problems.Refused() {
			return errSilent
		}
		return nil
	}
	return cmd
}

func checkJSON(w io.Writer, l *settings.Loaded, problems config.Problems, served, refused int) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if problems == nil {
		problems = config.Problems{}
	}
	return enc.Encode(map[string]any{"ok": !problems.Refused(), "served": served, "refused": refused, "changes": changedPaths(l), "problems": problems})
}

// checkText writes a line per problem; the severity in colour on a terminal.
func checkText(w io.Writer, l *settings.Loaded, problems config.Problems, served, refused int) error {
	colours := map[document.Severity]string{config.SeverityError: "\x1b[31m", config.SeverityWarning: "\x1b[33m", config.SeverityIgnored: "\x1b[2m"}
	on := isTerminal(w)
	for _, p := range problems {
		severity := p.Severity.String()
		if on {
			severity = colours[p.Severity] + severity + "\x1b[0m"
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", severity, p.Error()); err != nil {
			return err
		}
	}
	if changed := changedPaths(l); len(changed) > 0 {
		if _, err := fmt.Fprintf(w, "settings changed in the running gateway, kept in %s: %s\n", l.ChangesFile, strings.Join(changed, ", ")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d APIs can be served, %d are refused\n", served, refused)
	return err
}

// changedPaths lists the settings that were changed in the running gateway.
func changedPaths(l *settings.Loaded) []string {
	paths := slices.Sorted(maps.Keys(l.Changes))
	if paths == nil {
		return []string{}
	}
	return paths
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}
