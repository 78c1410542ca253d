package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/client"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
)

// settingFlags are the flags that commands share: flag name, path of the setting, help, in which backquotes name the
// value. Default and environment variable are the setting's.
var settingFlags = [...][3]string{
	{"listen", "listen.address", "address that clients reach, `HOST:PORT` or :PORT"},
	{"tls-cert", "listen.tls.cert", "certificate `FILES` of the data listener, PEM, comma-separated"},
	{"tls-key", "listen.tls.key", "key `FILES` of the data listener, PEM, comma-separated"},
	{"trusted-proxies", "listen.trusted_proxies", "comma-separated `PREFIXES` whose X-Forwarded-For, or PROXY header, is believed"},
	{"admin-listen", "admin.listen", "address of the control listener, `HOST:PORT`; there is none without it"},
	{"admin-secret", "admin.secret", "`SECRET` of the control listener"},
	{"admin-secret-file", "admin.secret_file", "`FILE` that holds the secret of the control listener"},
	{"apis", "apis", "`FOLDER` of API definitions"},
	{"plugins", "plugins", "`FOLDER` of plugin folders"},
	{"plugin-server", "servers.default.address",
		"`ADDRESS` of the plugin server for hooks that name none, such as tcp://127.0.0.1:5555 or unix:/run/p.sock"},
	{"python", "python.interpreter", "`INTERPRETER` of plugins in Python, a CPython with grpcio and protobuf, by name or path"},
	{"bundle-base-url", "bundles.base_url", "`URL` or folder of bundles that definitions name, beside those in the folder of plugins; a plain http URL is taken as it is"},
	{"public-key", "bundles.public_keys", "`FILE` of a key that may sign bundles, ed25519, ECDSA or RSA in PEM; repeated for several"},
	{"allow-unsigned", "bundles.allow_unsigned", "`NAME` of a bundle, exactly as a definition has it, that nobody need have signed; repeated for several"},
	{"trust-tyk-wiring", "bundles.trust_tyk_wiring", "take the manifest of bundles that Tyk signed, which that signature does not cover"},
	{"require-signed", "bundles.require_signed", "run no scripts, plugin folders and commands but those in signed bundles"},
	{"accept-new-state", "bundles.accept_new_state", "begin a new data/trust.json where it is lost, and forget which releases of bundles were seen"},
	{"log-level", "log.level", "`LEVEL` from which the gateway's own log is written: debug, info, warn or error"},
	{"log-format", "log.format", "`FORMAT` of the gateway's own log: text or json"},
	{"access-log", "access_log.path", "`FILE` of the access log, stdout or stderr"},
	{"shutdown-delay", "shutdown_delay", "`TIME` that a gateway told to stop goes on serving, not ready any more, before it drains"},
	{"drain-timeout", "drain_timeout", "`TIME` that requests have to end when the gateway stops or their definition changes"},
	{"strict", "strict", "refuse to start when a definition is refused"},
}

// repeated are those that may be given several times.
func repeated() []string { return []string{"public-key", "allow-unsigned"} }

// addSettingFlags offers the shared flags; the returned function says where settings come from with what they were given.
func addSettingFlags(cmd *cobra.Command, e *env) func() *settings.Source {
	flags := cmd.Flags()
	file := flags.StringP("config", "c", "", "settings `FILE` ($"+config.EnvConfigFile+") (default "+settings.DefaultFile+", if it is there)")
	conf := flags.String("tyk-conf", "", "tyk.conf `FILE` of a Tyk gateway, which with TYK_GW_ variables holds where our settings say nothing ($"+config.EnvTykConf+") (default none)")
	all := e.settings()
	for _, f := range settingFlags {
		s := all[slices.IndexFunc(all, func(s config.Setting) bool { return s.Path == strings.Replace(f[1], ".default.", ".*.", 1) })]
		help := f[2] + " ($" + strings.Replace(s.Env, "*", "DEFAULT", 1) + ")"
		switch {
		case slices.Contains(repeated(), f[0]):
			flags.StringArray(f[0], nil, help)
		case s.Default == "true" || s.Default == "false":
			flags.Bool(f[0], s.Default == "true", help+" (default "+s.Default+")")
		case s.Default == "":
			flags.String(f[0], "", help+" (default none)")
		default:
			flags.String(f[0], s.Default, help)
		}
	}
	flags.Bool("no-access-log", false, "write no access log ($TURNBUCKLE_ACCESS_LOG_ENABLED=false) (default false)")
	return func() *settings.Source {
		set := map[string]string{}
		for _, f := range settingFlags {
			if !flags.Changed(f[0]) {
				continue
			}
			set[f[1]] = flags.Lookup(f[0]).Value.String()
			if all, err := flags.GetStringArray(f[0]); err == nil {
				set[f[1]] = strings.Join(all, ",")
			}
		}
		if off, err := flags.GetBool("no-access-log"); err == nil && off {
			set["access_log.enabled"] = "false"
		}
		return &settings.Source{File: *file, Conf: *conf, Environ: e.environ, Flags: set, Builtins: readyMade}
	}
}

// readyMade are the plugins that settings can turn on.
func readyMade() ([]*config.Plugin, error) { return builtin.Parse(all.Plugins()) }

// settingsCommand lists every setting with its environment variable and its default, or with what holds.
func settingsCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "List every setting with its environment variable and its default, or with what holds",
		Long: `Settings lists every setting with its environment variable and its default. With --effective it reads what serve would
read here and lists what holds, with who says so: default, tyk.conf, file, change (in the running gateway), environment or
flag. Secrets are not shown. get, set and unset ask a running gateway instead, through its control listener.`,
		Example: `  turnbuckle settings | grep listen
  turnbuckle settings --effective --config turnbuckle.yaml
  turnbuckle settings set log.level=debug --admin-secret-file secret`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(client.SettingsCommands(client.Env{Environ: e.environ, Stdin: os.Stdin, Stdout: e.stdout, Stderr: e.stderr})...)
	effective := cmd.Flags().Bool("effective", false, "list what holds, and who says so (default false)")
	source := addSettingFlags(cmd, e)
	cmd.RunE = func(*cobra.Command, []string) error {
		if !*effective {
			w := tabwriter.NewWriter(e.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "SETTING\tENVIRONMENT\tDEFAULT")
			for _, s := range e.settings() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Path, s.Env, cmp.Or(s.Default, "-"))
			}
			return w.Flush()
		}
		loaded, err := source().Load()
		if err != nil {
			return err
		}
		if err := loaded.Problems.Err(); err != nil {
			return hint.New(fmt.Errorf("the settings are refused:\n%w", err), "turnbuckle check lists every problem")
		}
		for i := range loaded.Values {
			if v := &loaded.Values[i]; v.Source == config.OriginChange {
				v.Where = loaded.ChangesFile
			}
		}
		return client.PrintSettings(e.stdout, loaded.Values)
	}
	return cmd
}
