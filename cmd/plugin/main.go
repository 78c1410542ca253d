// Command plugin runs a ready-made plugin as a plugin server: the same code that the gateway has built in, in a process of
// its own. Which one its name says, turnbuckle-NAME, or the variable PLUGIN. `make bundles` packs one bundle for each.
//
// Its configuration, JSON as the plugin's README has it, is in the variable PLUGIN_CONFIG, or in the file that
// PLUGIN_CONFIG_FILE names. PLUGIN_DIR is the folder that it may keep files in; without one it has memory alone. Each of
// these is looked for with the plugin's name before it first, as in LOGGLY_PLUGIN_CONFIG, so that a gateway can tell the
// plugins apart that it starts. The flags are those of sdk/serve.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

func main() {
	p, err := open(context.Background(), os.Args[0], os.Getenv, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(serve.Main(p))
}

// open makes the plugin that the program is called after.
func open(ctx context.Context, program string, getenv func(string) string, stderr io.Writer) (*sdk.Plugin, error) {
	name := cmp.Or(getenv("PLUGIN"), strings.TrimPrefix(filepath.Base(program), "turnbuckle-"))
	i := slices.IndexFunc(all.Plugins(), func(p all.Plugin) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no plugin %q: call the program turnbuckle-NAME, or set PLUGIN", name)
	}
	own := func(variable string) string {
		return cmp.Or(getenv(strings.ToUpper(name)+"_"+variable), getenv(variable))
	}
	config := []byte(own("PLUGIN_CONFIG"))
	if file := own("PLUGIN_CONFIG_FILE"); file != "" && len(config) == 0 {
		var err error
		if config, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("PLUGIN_CONFIG_FILE: %w", err)
		}
	}
	host := sdk.Host{Log: slog.New(slog.NewTextHandler(stderr, nil)), Dir: own("PLUGIN_DIR")}
	if host.Dir != "" {
		var err error
		if host.Dir, err = filepath.Abs(host.Dir); err != nil {
			return nil, fmt.Errorf("PLUGIN_DIR: %w", err)
		}
	}
	return all.Plugins()[i].New(ctx, json.RawMessage(config), host)
}
