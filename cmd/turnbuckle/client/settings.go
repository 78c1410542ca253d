package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// SettingsCommands are those that look at the settings of a running gateway and change them, for the settings command.
func SettingsCommands(e Env) []*cobra.Command {
	return []*cobra.Command{getSettingsCommand(e), setSettingsCommand(e), unsetSettingCommand(e)}
}

// settings is the reply of /v1/settings.
type settings struct {
	Waiting  []string              `json:"waiting,omitempty"`
	Settings []config.SettingValue `json:"settings"`
}

func getSettingsCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get [SETTING]",
		Short: "Show the settings of a running gateway, or those at and below a path, and who says so",
		Example: `  turnbuckle settings get
  turnbuckle settings get listen.max_body
  turnbuckle settings get servers --json`,
		Args: cobra.MaximumNArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "write JSON (default false)")
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		var all settings
		if _, err := cl.call(cmd.Context(), "GET", "/v1/settings", nil, nil, &all); err != nil {
			return err
		}
		if len(args) > 0 {
			var below []config.SettingValue
			for _, v := range all.Settings {
				if v.Path == args[0] || strings.HasPrefix(v.Path, args[0]+".") {
					below = append(below, v)
				}
			}
			if len(below) == 0 {
				return hint.New(fmt.Errorf("there is no setting %q", args[0]), "turnbuckle settings lists those that there are")
			}
			all.Settings = below
		}
		if *asJSON {
			encoder := json.NewEncoder(e.Stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(all.Settings)
		}
		if len(all.Waiting) > 0 {
			fmt.Fprintf(e.Stderr, "These have changed in their file and wait for a restart: %s\n", strings.Join(all.Waiting, ", "))
		}
		return PrintSettings(e.Stdout, all.Settings)
	}
	return cmd
}

func setSettingsCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set SETTING=VALUE...",
		Short: "Change settings of a running gateway",
		Long: `Set changes settings of a running gateway at once, all of them or none, and prints what has changed. The gateway keeps
the changes over a restart. A value is what the environment variable of the setting would hold (lists separated by commas,
mappings as k=v pairs), or a list or mapping as JSON.`,
		Example: `  turnbuckle settings set log.level=debug
  turnbuckle settings set listen.max_body=1MiB hooks.timeout=2s access_log.fields=time,path,status`,
		Args: cobra.MinimumNArgs(1),
	}
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch := map[string]any{}
		for _, arg := range args {
			path, value, ok := strings.Cut(arg, "=")
			if !ok || path == "" {
				return hint.New(fmt.Errorf("%q is not SETTING=VALUE", arg), "turnbuckle settings lists the settings")
			}
			patch[path] = value
			if strings.HasPrefix(value, "[") || strings.HasPrefix(value, "{") {
				if !json.Valid([]byte(value)) {
					return fmt.Errorf("%s: the value begins like JSON and is none", path)
				}
				patch[path] = json.RawMessage(value)
			}
		}
		return c.change(cmd, "PATCH", "/v1/settings", patch)
	}
	return cmd
}

func unsetSettingCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "unset SETTING",
		Short:   "Take back the changes of a setting, or of those below a path, in a running gateway",
		Example: "  turnbuckle settings unset log.level\n  turnbuckle settings unset servers.my-auth",
		Args:    cobra.ExactArgs(1),
	}
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.change(cmd, "DELETE", "/v1/settings/"+url.PathEscape(args[0]), nil)
	}
	return cmd
}

// change asks for a change and prints what came of it.
func (c *connection) change(cmd *cobra.Command, method, path string, body any) error {
	cl, err := c.open()
	if err != nil {
		return err
	}
	var changed settings
	if _, err := cl.call(cmd.Context(), method, path, nil, body, &changed); err != nil {
		return err
	}
	if len(changed.Settings) == 0 {
		fmt.Fprintln(c.e.Stderr, "Everything is as it was.")
		return nil
	}
	return PrintSettings(c.e.Stdout, changed.Settings)
}

// PrintSettings writes settings, a line each, with who says so.
func PrintSettings(to io.Writer, values []config.SettingValue) error {
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tSOURCE\tWHERE")
	for _, v := range values {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.Path, printable(shown(v.Value)), v.Source, cmp.Or(v.Where, "-"))
	}
	return w.Flush()
}

// shown writes a value in one line.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		return cmp.Or(v, "-")
	}
	data, err := json.Marshal(value)
	if err != nil {
		return "-"
	}
	return string(data)
}
