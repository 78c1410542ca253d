// Package plugincmd is `turnbuckle plugin new`: it writes a plugin that works from a template.
//
// A template is a folder of templates/, named as --lang names the language. Files whose names end in .tmpl are Go templates of
// [data] and lose that ending; others are copied. template.yaml says what the language's line in the help and the hints at the end
// are, and what the gateway's program carries for it (see payloads); it is not copied. To add a language, add a folder.
package plugincmd

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/turnbuckle-gateway/turnbuckle/proto"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/node"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

//go:embed all:templates
var templates embed.FS

// data is what templates know.
type data struct {
	Name    string // of the plugin
	Version string // of the Go module that a plugin in Go requires
	Source  string // of that module, a folder; empty: from where Go finds it
}

// about is what template.yaml says.
type about struct {
	Summary string            `yaml:"summary"`
	Next    []string          `yaml:"next"`    // commands, templates themselves
	Carries map[string]string `yaml:"carries"` // payloads by the folder that they go to
}

// payloads are what the program carries, files by name.
func payloads() map[string]func() (map[string][]byte, error) {
	return map[string]func() (map[string][]byte, error){
		"npm": func() (map[string][]byte, error) {
			b, err := node.Tarball()
			return map[string][]byte{"turnbuckle-1.0.0.tgz": b}, err
		},
		"wheel": func() (map[string][]byte, error) {
			name, err := python.WheelName()
			if err != nil {
				return nil, err
			}
			b, err := python.Wheel()
			return map[string][]byte{name: b}, err
		},
		"proto": func() (map[string][]byte, error) {
			files := map[string][]byte{}
			err := fs.WalkDir(proto.Files, ".", func(name string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				files[name], err = proto.Files.ReadFile(name)
				return err
			})
			return files, err
		},
	}
}

// namePattern is what may be a plugin's name, a folder's, a Go module's and an npm package's.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// release is a version that Go can require.
var release = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// Command returns the command. version is the program's.
func Command(stdout io.Writer, version string) *cobra.Command {
	all, broken := languages()
	names := slices.Sorted(maps.Keys(all))
	var list strings.Builder
	for _, name := range names {
		fmt.Fprintf(&list, "\n  %-8s %s", name, all[name].Summary)
	}
	var lang, dir, source string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a plugin that works, to begin with",
		Long: `New writes a plugin server with a hook that changes requests and one that changes replies, its plugin.yaml, a README and tests
that need no gateway. --lang says in which language:
` + list.String(),
		Example: `  turnbuckle plugin new --lang node greeter
  turnbuckle plugin new --lang python greeter
  turnbuckle plugin new --lang go --source ~/src/turnbuckle greeter`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			found, ok := all[lang]
			if broken != nil {
				return broken
			}
			if !ok {
				return fmt.Errorf("--lang: there is no template %q: want %s", lang, strings.Join(names, ", "))
			}
			d := data{Name: args[0], Version: "v0.0.0"}
			if release.MatchString(version) {
				d.Version = version
			}
			if source != "" {
				abs, err := filepath.Abs(source)
				if err != nil {
					return err
				}
				d.Source = abs
			}
			if dir == "" {
				dir = d.Name
			}
			return write(stdout, lang, found, d, dir)
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "", "`LANGUAGE` of the plugin: "+strings.Join(names, ", ")+" (required)")
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` to write, new or empty (default ./NAME)")
	cmd.Flags().StringVar(&source, "source", "", "for Go: `FOLDER` with the gateway's sources, in place of the published module")
	return cmd
}

// languages lists the templates.
func languages() (map[string]about, error) {
	folders, err := templates.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	all := map[string]about{}
	for _, f := range folders {
		text, err := templates.ReadFile(path.Join("templates", f.Name(), "template.yaml"))
		if err != nil {
			return nil, err
		}
		var a about
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(&a); err != nil {
			return nil, fmt.Errorf("template %s: %w", f.Name(), err)
		}
		all[f.Name()] = a
	}
	return all, nil
}

// write writes the plugin: all of it, or none when it is known beforehand that it cannot.
func write(stdout io.Writer, lang string, a about, d data, dir string) error {
	if !namePattern.MatchString(d.Name) {
		return fmt.Errorf("%q is no name for a plugin: want small letters, digits and single hyphens", d.Name)
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return fmt.Errorf("%s is there already, and not empty", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files, err := render(lang, a, d)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, files[name], 0o644); err != nil {
			return err
		}
		fmt.Fprintln(stdout, full)
	}
	fmt.Fprintf(stdout, "\nNext, in %s:\n", dir)
	for _, line := range a.Next {
		text, err := expand(line, []byte(line), d)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "  %s\n", text)
	}
	return nil
}

// render makes the files of a template, by name.
func render(lang string, a about, d data) (map[string][]byte, error) {
	files := map[string][]byte{}
	root := path.Join("templates", lang)
	err := fs.WalkDir(templates, root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "template.yaml" {
			return err
		}
		text, err := templates.ReadFile(name)
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(name, root+"/")
		if plain, ok := strings.CutSuffix(to, ".tmpl"); ok {
			to = plain
			if text, err = expand(name, text, d); err != nil {
				return err
			}
		}
		files[to] = text
		return nil
	})
	for folder, kind := range a.Carries {
		make, ok := payloads()[kind]
		if !ok {
			return nil, fmt.Errorf("template %s: the program carries no %q", lang, kind)
		}
		carried, carryErr := make()
		err = errors.Join(err, carryErr)
		for name, text := range carried {
			files[path.Join(folder, name)] = text
		}
	}
	return files, err
}

func expand(name string, text []byte, d data) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, d)
	return out.Bytes(), err
}
