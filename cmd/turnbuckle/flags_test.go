package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Every flag that is a setting says in the help which environment variable it is too, one that there is, and what holds
// without it.
func TestFlagsTellDefaultAndVariable(t *testing.T) {
	variables := map[string]bool{config.EnvConfigFile: true, config.EnvTykConf: true, "TURNBUCKLE_SERVERS_DEFAULT_ADDRESS": true}
	for _, s := range config.AllSettings() {
		variables[s.Env] = true
	}
	for _, cmd := range []*cobra.Command{serveCommand(&env{}), checkCommand(&env{})} {
		n := 0
		for _, name := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`).FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
			f := cmd.Flags().Lookup(name[1])
			if f.Name == "json" || f.Name == "dumpable" { // how check writes, and what serve is for the kernel, are no settings
				continue
			}
			n++
			m := regexp.MustCompile(`\(\$(\w+)`).FindStringSubmatch(f.Usage)
			if m == nil || !variables[m[1]] {
				t.Errorf("%s --%s names no environment variable that there is: %s", cmd.Name(), f.Name, f.Usage)
			}
			if f.DefValue == "" && !strings.Contains(f.Usage, "(default ") {
				t.Errorf("%s --%s tells no default: %s", cmd.Name(), f.Name, f.Usage)
			}
		}
		if n < len(settingFlags)+2 {
			t.Errorf("%s has %d flags that are settings", cmd.Name(), n)
		}
	}
}
