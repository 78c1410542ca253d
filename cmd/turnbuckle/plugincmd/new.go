// Package plugincmd is `turnbuckle plugin new`: it writes a plugin that works from a template.
//
// A template is a folder of templates/, named as --lang names the language. Files whose names end in .tmpl are Go templates of
// [data] and lose that ending; others are copied. template.yaml says what the language's line in the help and the hints at the end
// are, and what the gateway's program carries for it (see payloads); it is not copied. To add a language, add a folder.
package plugincmd

import (
	"bytes"
	"embed"
	"encoding/json"
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
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/internal/template"
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
	var listing, asJSON bool
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a plugin that works, to begin with",
		Long: `New writes a plugin with a hook that changes requests and one that changes replies, its plugin.yaml, a README and tests
that need no gateway. --lang says in which language:
` + list.String(),
		Example: `  turnbuckle plugin new --list
  turnbuckle plugin new --lang js greeter && turnbuckle plugin run greeter
  turnbuckle plugin new --lang node greeter
  turnbuckle plugin new --lang python greeter
  turnbuckle plugin new --lang go --source ~/src/turnbuckle greeter`,
		Args: func(cmd *cobra.Command, args []string) error {
			if listing {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if broken != nil {
				return broken
			}
			if listing {
				return printLanguages(stdout, all, asJSON)
			}
			found, ok := all[lang]
			if !ok {
				return unknownLanguage(lang, names)
			}
			d := data{Name: args[0], Version: "v0.0.0"}
			if release.MatchString(version) {
				d.Version = version
			}
			var err error
			if d.Source, err = sources(source, d.Version == "v0.0.0"); err != nil {
				return err
			}
			if dir == "" {
				dir = d.Name
			}
			return write(stdout, lang, found, d, dir)
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "", "`LANGUAGE` of the plugin: "+strings.Join(names, ", ")+" (required)")
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` to write, new or empty (default ./NAME)")
	cmd.Flags().StringVar(&source, "source", "", "for Go: `FOLDER` with the gateway's sources, in place of the published module (default where this program lies, if it was built there)")
	cmd.Flags().BoolVar(&listing, "list", false, "list the languages (default false)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --list: print JSON (default false)")
	return cmd
}

// printLanguages lists the templates.
func printLanguages(w io.Writer, all map[string]about, asJSON bool) error {
	type language struct {
		Language string `json:"language"`
		Summary  string `json:"summary"`
	}
	list := []language{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, language{name, all[name].Summary})
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "LANGUAGE\tWHAT")
	for _, l := range list {
		fmt.Fprintf(table, "%s\t%s\n", l.Language, l.Summary)
	}
	return table.Flush()
}

// unknownLanguage says which there are, and which may have been meant.
func unknownLanguage(lang string, names []string) error {
	other := map[string]string{
		"golang": "go", "py": "python", "python3": "python", "nodejs": "node", "javascript": "node", "typescript": "node", "ts": "node",
		"kotlin": "java", "rs": "rust", "rb": "ruby",
	}
	advice := "turnbuckle plugin new --list says what each is; others begin with turnbuckle proto export"
	if is, ok := other[strings.ToLower(lang)]; ok {
		advice = "--lang " + is + ", perhaps? " + advice
	}
	if lang == "" {
		return hint.New(errors.New("--lang is required: "+strings.Join(names, ", ")), advice)
	}
	return hint.New(fmt.Errorf("--lang: there is no template %q: want %s", lang, strings.Join(names, ", ")), advice)
}

// sources returns the folder with the gateway's sources: the one that was named or, for a program that is no release, the one
// that it lies in or that is being worked in. Empty is none.
func sources(named string, look bool) (string, error) {
	if named != "" {
		abs, err := filepath.Abs(named)
		if err == nil && !isSource(abs) {
			err = fmt.Errorf("--source: %s does not hold the module %s", abs, module)
		}
		return abs, err
	}
	if !look {
		return "", nil
	}
	program, _ := os.Executable() // or it is not found
	here, _ := os.Getwd()
	for _, from := range []string{filepath.Dir(program), here} {
		for dir := from; filepath.IsAbs(dir); dir = filepath.Dir(dir) {
			if isSource(dir) {
				return dir, nil
			}
			if filepath.Dir(dir) == dir {
				break
			}
		}
	}
	return "", nil
}

// module is what a plugin in Go requires.
const module = "github.com/turnbuckle-gateway/turnbuckle"

func isSource(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && bytes.HasPrefix(text, []byte("module "+module+"\n"))
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
		return hint.New(fmt.Errorf("%q is no name for a plugin: want small letters, digits and single hyphens between them", d.Name),
			"such as my-plugin; --dir names another folder for it")
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return hint.New(fmt.Errorf("%s is there already, and not empty", dir), "name another folder with --dir")
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
	if lang == "go" && d.Source == "" && d.Version == "v0.0.0" {
		fmt.Fprintf(stdout, "\nThis program is no release that Go could find. Say where its sources are, in %s:\n  go mod edit -replace %s=FOLDER\n", dir, module)
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
	t, err := template.Parse(name, string(text), template.Options{Strict: true})
	if err != nil {
		return nil, err
	}
	return t.Render(map[string]any{"Name": d.Name, "Version": d.Version, "Source": d.Source})
}
