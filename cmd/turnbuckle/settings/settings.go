// Package settings finds the settings of a gateway wherever they are said: flags, environment, what was changed in the
// running gateway, the settings file, a tyk.conf.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tykconf"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// DefaultFile is read when it is there and no other file is named.
const DefaultFile = "turnbuckle.yaml"

// Source is where settings come from. It is not changed once it is used, and may be used by many.
type Source struct {
	// File and Conf are the settings file and a tyk.conf, as flags name them; empty: as the environment does, or the
	// default one if it is there, and none.
	File, Conf string
	// Environ is the environment in the form of os.Environ, Flags what flags say of settings by path.
	Environ []string
	Flags   map[string]string
	// Builtins returns the ready-made plugins; nil: there are none.
	Builtins func() ([]*config.Plugin, error)
}

// Loaded is what settings amount to. Nobody changes it.
type Loaded struct {
	Settings config.Settings
	// Values are all settings with who says so.
	Values []config.SettingValue
	// Problems are what is wrong, or worth saying. When they refuse the settings these are not to be used.
	Problems config.Problems
	// Changes hold before the file; they are kept in ChangesFile. While admin.settings is off they are not read.
	Changes     Changes
	ChangesFile string
	// Files are the paths that were read, or would have been had they been there: a change of one may change settings.
	Files []string

	conf config.Problems // of the tyk.conf
}

// Load reads the settings, with the changes that were kept.
func (s *Source) Load() (*Loaded, error) {
	src, found, err := s.read()
	if err != nil {
		return nil, err
	}
	if !found.Settings.Admin.Settings {
		if _, err := os.Stat(found.ChangesFile); err == nil {
			found.Problems = append(found.Problems, config.Problem{
				File: found.ChangesFile, Severity: config.SeverityWarning, Message: "not read, since admin.settings is off",
			})
		}
		return found, nil
	}
	changes, err := readChanges(found.ChangesFile)
	if err != nil {
		return nil, hint.New(err, "repair the file, or remove it to do without the changes made in the running gateway")
	}
	if len(changes) == 0 {
		return found, nil
	}
	changed := s.with(src, found, changes)
	for i := range changed.Problems {
		if p := &changed.Problems[i]; strings.HasPrefix(p.File, "change of ") {
			p.File = found.ChangesFile + ": " + p.File
		}
	}
	return changed, nil
}

// With reads the settings as if these were the changes that were kept.
func (s *Source) With(changes Changes) (*Loaded, error) {
	src, found, err := s.read()
	if err != nil {
		return nil, err
	}
	return s.with(src, found, changes), nil
}

// read reads the settings without changes.
func (s *Source) read() (config.SettingsSource, *Loaded, error) {
	dir, err := os.Getwd()
	if err != nil {
		return config.SettingsSource{}, nil, fmt.Errorf("working directory: %w", err)
	}
	named := cmp.Or(s.File, lookup(s.Environ, config.EnvConfigFile))
	src := config.SettingsSource{File: cmp.Or(named, DefaultFile), Environ: s.Environ, Flags: s.Flags, WorkDir: dir, Builtins: s.Builtins}
	src.Data, err = os.ReadFile(src.File)
	if err != nil && (named != "" || !errors.Is(err, fs.ErrNotExist)) {
		return src, nil, fmt.Errorf("settings: %w", err)
	}
	found := &Loaded{Files: []string{absolute(dir, src.File)}}
	if conf := cmp.Or(s.Conf, lookup(s.Environ, config.EnvTykConf)); conf != "" {
		of, err := readTykConf(conf, s.Environ)
		if err != nil {
			return src, nil, err
		}
		src.Base = of.Values
		found.conf = of.Problems
		found.Files = append(found.Files, absolute(dir, conf))
	}
	loaded := s.with(src, found, nil)
	loaded.ChangesFile = filepath.Join(loaded.Settings.Store.Path, changesFile)
	return src, loaded, nil
}

// with loads settings with changes. Of before it takes what does not depend on them.
func (s *Source) with(src config.SettingsSource, before *Loaded, changes Changes) *Loaded {
	src.Changes = changes
	l := &Loaded{Changes: changes, ChangesFile: before.ChangesFile, Files: before.Files, conf: before.conf}
	var problems config.Problems
	l.Settings, l.Values, problems = config.LoadSettingValues(src)
	l.Problems = append(slices.Clone(before.conf), problems...)
	l.Problems = append(l.Problems, unknownFields(l.Settings.AccessLog.Fields)...).Sort()
	if f := l.Settings.Admin.SecretFile; f != "" {
		l.Files = append(slices.Clone(l.Files), f)
	}
	return l
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// readTykConf reads the settings of a Tyk gateway.
func readTykConf(file string, environ []string) (tykconf.Settings, error) {
	if lookup(environ, tykconf.EnvOmitFile) == "true" {
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
	var problems config.Problems
	for i, name := range fields {
		at := config.Problem{Severity: config.SeverityError, Path: fmt.Sprintf("$.access_log.fields[%d]", i)}
		switch {
		case !slices.Contains(known, name):
			at.Message, at.Hint = fmt.Sprintf("unknown field %q", name), "fields are "+strings.Join(known, ", ")
		case slices.Contains(fields[:i], name):
			at.Message = fmt.Sprintf("field %q is named twice", name)
		default:
			continue
		}
		problems = append(problems, at)
	}
	return problems
}

// lookup finds a variable; empty when there is none.
func lookup(environ []string, name string) string {
	value, _ := LookupIn(environ)(name)
	return value
}

// LookupIn looks variables up in an environment, as os.LookupEnv does in the process's.
func LookupIn(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := len(environ) - 1; i >= 0; i-- {
			if k, v, _ := strings.Cut(environ[i], "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}
