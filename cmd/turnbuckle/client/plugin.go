package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// PluginCommands are those that look at the plugins of a running gateway, for the plugin command.
func PluginCommands(e Env) []*cobra.Command {
	return []*cobra.Command{listPluginsCommand(e), replacePluginCommand(e)}
}

// pluginServer is one in the reply of /v1/servers.
type pluginServer struct {
	Name      string           `json:"name"`
	Address   string           `json:"address"`
	Command   []string         `json:"command"`
	Protocol  string           `json:"protocol"`
	Routes    int              `json:"routes"`
	Instances []pluginInstance `json:"instances"`
}

// pluginInstance is an address of a server, or a process that the gateway started.
type pluginInstance struct {
	Address   string    `json:"address"`
	Instance  int       `json:"instance"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	PID       int       `json:"pid"`
	Restarts  uint64    `json:"restarts"`
	Error     string    `json:"error"`
	NextStart time.Time `json:"next_start"`
	LastCrash *crash    `json:"last_crash"`
	RPC       *struct {
		State string `json:"state"`
		Error string `json:"error"`
	} `json:"rpc"`
	Usage *struct {
		Memory int64 `json:"memory"`
	} `json:"usage"`
}

type crash struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
	Lines []string  `json:"last_lines"`
}

// script is one in the reply of /v1/scripts.
type script struct {
	Name        string `json:"name"`
	Language    string `json:"language"`
	Routes      int    `json:"routes"`
	Quarantined bool   `json:"quarantined"`
}

// readyMade is a ready-made plugin.
type readyMade struct {
	Plugin string             `json:"plugin"`
	Routes int                `json:"routes"`
	Counts map[string]float64 `json:"counts"`
}

func listPluginsCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the plugins that a running gateway uses: state, process, restarts, last crash",
		Long: `List shows the plugins that a running gateway uses. Of a plugin server that the gateway starts there is a line for each
process; --crashes shows the last lines that those wrote which crashed.`,
		Example: `  turnbuckle plugin list
  turnbuckle plugin list --crashes
  turnbuckle plugin list --json | jq '.servers[] | select(.name == "greeter").instances'`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "write JSON (default false)")
	crashes := cmd.Flags().Bool("crashes", false, "show the last lines of processes that crashed (default false)")
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		var servers []pluginServer
		var scripts []script
		rawServers, err := cl.call(cmd.Context(), "GET", "/v1/servers", nil, nil, &servers)
		if err != nil {
			return err
		}
		rawScripts, err := cl.call(cmd.Context(), "GET", "/v1/scripts", nil, nil, &scripts)
		if err != nil {
			return err
		}
		var ready []readyMade
		rawReady, err := cl.call(cmd.Context(), "GET", "/v1/plugins", nil, nil, &ready)
		if err != nil {
			return err
		}
		if *asJSON {
			encoder := json.NewEncoder(e.Stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(map[string]json.RawMessage{"servers": rawServers, "scripts": rawScripts, "ready_made": rawReady})
		}
		if len(servers)+len(scripts)+len(ready) == 0 {
			fmt.Fprintln(e.Stderr, "The gateway uses no plugins.")
			return nil
		}
		return c.printPlugins(servers, scripts, ready, *crashes)
	}
	return cmd
}

// printPlugins writes a line for each instance, each script and each ready-made plugin.
func (c *connection) printPlugins(servers []pluginServer, scripts []script, ready []readyMade, crashes bool) error {
	w := tabwriter.NewWriter(c.e.Stdout, 0, 8, 2, ' ', 0)
	line := func(row ...string) {
		for i := range row {
			row[i] = printable(cmp.Or(row[i], "-"))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	now := time.Now()
	line("PLUGIN", "RUNS", "STATE", "FOR", "PID", "MEMORY", "RESTARTS", "PROTOCOL", "ROUTES", "LAST ERROR")
	for _, s := range servers {
		if len(s.Instances) == 0 {
			line(s.Name, s.Address, "down", "", "", "", "", s.Protocol, strconv.Itoa(s.Routes), "its name has no address")
		}
		for i := range s.Instances {
			n := &s.Instances[i]
			line(append(append([]string{s.Name}, n.row(&s, now)...), s.Protocol, strconv.Itoa(s.Routes), n.lastError(now))...)
		}
	}
	for _, s := range scripts {
		state := "ready"
		if s.Quarantined {
			state = "quarantined"
		}
		line(s.Name, s.Language, state, "", "", "", "", "", strconv.Itoa(s.Routes), "")
	}
	for _, p := range ready {
		state := "ready"
		if up, shipper := p.Counts["up"]; shipper && up == 0 {
			state = "sink down"
		}
		line(p.Plugin, "ready-made", state, "", "", "", "", "", strconv.Itoa(p.Routes), "")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range servers {
		for _, i := range s.Instances {
			if crashes && i.LastCrash != nil {
				fmt.Fprintf(c.e.Stdout, "\n%s #%d, %s: %s\n", s.Name, i.Instance, i.LastCrash.Time.Format(time.RFC3339), printable(i.LastCrash.Error))
				for _, text := range i.LastCrash.Lines {
					fmt.Fprintln(c.e.Stdout, "  "+printable(text))
				}
			}
		}
	}
	return nil
}

// row is where an instance runs, its state, for how long it has been in that, its process, memory and restarts.
func (i *pluginInstance) row(s *pluginServer, now time.Time) []string {
	if len(s.Command) == 0 {
		return []string{i.Address, i.State, "", "", "", ""}
	}
	state := i.State
	if i.RPC != nil && state == "ready" {
		state = i.RPC.State
	}
	var pid, memory string
	if i.PID != 0 {
		pid = strconv.Itoa(i.PID)
	}
	if i.Usage != nil && i.Usage.Memory > 0 {
		memory = strconv.FormatInt(i.Usage.Memory>>20, 10) + " MiB"
	}
	runs := fmt.Sprintf("%s #%d", strings.Join(s.Command, " "), i.Instance)
	return []string{runs, state, span(now.Sub(i.Since)), pid, memory, strconv.FormatUint(i.Restarts, 10)}
}

// lastError is why an instance takes no calls, or why its last process crashed.
func (i *pluginInstance) lastError(now time.Time) string {
	switch {
	case i.LastCrash != nil:
		text := span(now.Sub(i.LastCrash.Time)) + " ago: " + i.LastCrash.Error
		if wait := i.NextStart.Sub(now); wait > 0 {
			text += "; next start in " + span(wait)
		}
		return text
	case i.RPC != nil:
		return i.RPC.Error
	}
	return i.Error
}

// span is a time as far as it says something.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// replaceTimeout bounds the wait for new processes, one after the other.
const replaceTimeout = 10 * time.Minute

func replacePluginCommand(e Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart NAME",
		Short: "Replace the processes of a plugin server that a running gateway started, without a failed request",
		Long: `Restart replaces the processes of a plugin server, one after the other: the new one takes calls before the old one is let
go, which ends the calls it has. One that is in quarantine is started at once. It returns when the last new one takes calls; when one
does not get ready the old ones go on, and restart says why and exits with 1.`,
		Example: "  turnbuckle plugin restart greeter",
		Args:    cobra.ExactArgs(1),
	}
	c := addConnectionFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), replaceTimeout)
		defer cancel()
		reply, err := cl.send(ctx, "POST", "/v1/servers/"+url.PathEscape(args[0])+"/replace", nil, nil)
		if err != nil {
			return err
		}
		return reply.Body.Close()
	}
	return cmd
}
