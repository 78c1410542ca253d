package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tykconf"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// defaultConfig is read when it is there and no other file is named.
const defaultConfig = "turnbuckle.yaml"

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
	{"log-level", "log.level", "`LEVEL` from which the gateway's own log is written: debug, info, warn or error"},
	{"log-format", "log.format", "`FORMAT` of the gateway's own log: text or json"},
	{"access-log", "access_log.path", "`FILE` of the access log, stdout or stderr"},
	{"shutdown-delay", "shutdown_delay", "`TIME` that a gateway told to stop goes on serving, not ready any more, before it drains"},
	{"drain-timeout", "drain_timeout", "`TIME` that requests have to end when the gateway stops or their definition changes"},
	{"strict", "strict", "refuse to start when a definition is refused"},
}

// addSettingFlags offers the shared flags; the returned function loads the settings they amount to.
func addSettingFlags(cmd *cobra.Command, e *env) func() (config.Settings, config.Problems, error) {
	flags := cmd.Flags()
	file := flags.StringP("config", "c", "", "settings `FILE` ($"+config.EnvConfigFile+") (default "+defaultConfig+", if it is there)")
	conf := flags.String("tyk-conf", "", "tyk.conf `FILE` of a Tyk gateway, which with TYK_GW_ variables holds where our settings say nothing ($"+config.EnvTykConf+") (default none)")
	all := config.AllSettings()
	for _, f := range settingFlags {
		s := all[slices.IndexFunc(all, func(s config.Setting) bool { return s.Path == strings.Replace(f[1], ".default.", ".*.", 1) })]
		help := f[2] + " ($" + strings.Replace(s.Env, "*", "DEFAULT", 1) + ")"
		switch {
		case f[0] == "strict":
			flags.Bool(f[0], s.Default == "true", help+" (default "+s.Default+")")
		case s.Default == "":
			flags.String(f[0], "", help+" (default none)")
		default:
			flags.String(f[0], s.Default, help)
		}
	}
	flags.Bool("no-access-log", false, "write no access log ($TURNBUCKLE_ACCESS_LOG_ENABLED=false) (default false)")
	return func() (config.Settings, config.Problems, error) {
		set := map[string]string{}
		for _, f := range settingFlags {
			if flags.Changed(f[0]) {
				set[f[1]] = flags.Lookup(f[0]).Value.String()
			}
		}
		if off, err := flags.GetBool("no-access-log"); err == nil && off {
			set["access_log.enabled"] = "false"
		}
		return loadSettings(*file, *conf, e.environ, set)
	}
}

func loadSettings(file, conf string, environ []string, flags map[string]string) (config.Settings, config.Problems, error) {
	dir, err := os.Getwd()
	if err != nil {
		return config.Settings{}, nil, fmt.Errorf("working directory: %w", err)
	}
	src := config.SettingsSource{File: file, Environ: environ, Flags: flags, WorkDir: dir}
	if file == "" {
		file, _ = lookupIn(environ)(config.EnvConfigFile)
		src.File = cmp.Or(file, defaultConfig)
	}
	src.Data, err = os.ReadFile(src.File)
	if err != nil && (file != "" || !errors.Is(err, fs.ErrNotExist)) {
		return config.Settings{}, nil, fmt.Errorf("settings: %w", err)
	}
	if conf == "" {
		conf, _ = lookupIn(environ)(config.EnvTykConf)
	}
	var before config.Problems
	if conf != "" {
		of, err := loadTykConf(conf, environ)
		if err != nil {
			return config.Settings{}, nil, err
		}
		src.Base, before = of.Values, of.Problems
	}
	s, problems := config.LoadSettings(src)
	problems = append(before, problems...)
	return s, append(problems, unknownFields(s.AccessLog.Fields)...), nil
}

// loadTykConf reads the settings of a Tyk gateway.
func loadTykConf(file string, environ []string) (tykconf.Settings, error) {
	if omit, _ := lookupIn(environ)(tykconf.EnvOmitFile); omit == "true" {
		return tykconf.Load(file, nil, environ), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return tykconf.Settings{}, hint.New(fmt.Errorf("tyk.conf: %w", err), "with "+tykconf.EnvOmitFile+"=true there need be no file")
	}
	return tykconf.Load(file, data, environ), nil
}

// unknownFields checks the one list in the settings that config cannot: the fields are the access log's own.
func unknownFields(fields []string) config.Problems {
	known := observe.AccessFields()
	for i, name := range fields {
		if !slices.Contains(known, name) {
			return config.Problems{{
				Severity: config.SeverityError, Path: fmt.Sprintf("$.access_log.fields[%d]", i),
				Message: fmt.Sprintf("unknown field %q", name), Hint: "fields are " + strings.Join(known, ", "),
			}}
		}
	}
	return nil
}

func lookupIn(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := len(environ) - 1; i >= 0; i-- {
			if k, v, _ := strings.Cut(environ[i], "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

// settingsCommand lists every setting with its environment variable and its default.
func settingsCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "settings",
		Short:   "List every setting with its environment variable and its default",
		Example: "  turnbuckle settings | grep listen",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(e.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "SETTING\tENVIRONMENT\tDEFAULT")
			for _, s := range config.AllSettings() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Path, s.Env, cmp.Or(s.Default, "-"))
			}
			return w.Flush()
		},
	}
}
