package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeDefinitions: the definitions that the READMEs tell new users to write are accepted, the one for a plugin
// folder together with that folder and its schema.
func TestReadmeDefinitions(t *testing.T) {
	t.Parallel()
	doorman := repositoryFile(t, "examples/go-grpc/plugin.yaml")
	for _, test := range []struct {
		file, block string
		beside      map[string]string
	}{
		{"README.md", `(?s)> apis/hello\.yaml <<'YAML'\n(.*?)YAML\n`, map[string]string{"apis/hello.js": readmeBlock(t, `(?s)> apis/hello\.js <<'JS'\n(.*?)JS\n`)}},
		{"README.md", `(?s)> apis/shop\.yaml <<'YAML'\n(.*?)YAML\n`, nil},
		{"README.md", `(?s)> apis/books\.yaml <<'YAML'\n(.*?)YAML\n`, nil},
		{"examples/go-grpc/README.md", "(?s)```yaml\n(.*?)```\n", map[string]string{"plugins.d/doorman/plugin.yaml": doorman}},
	} {
		t.Run(test.file, func(t *testing.T) {
			m := regexp.MustCompile(test.block).FindStringSubmatch(repositoryFile(t, test.file))
			if m == nil {
				t.Fatalf("%s has no definition any more", test.file)
			}
			files := map[string]string{"apis/shop.yaml": m[1]}
			for name, text := range test.beside {
				files[name] = text
			}
			p, err := spawn(folder(t, files, nil), environment(), "turnbuckle", "turnbuckle", "check", "--plugin-server", "unix:/tmp/turnbuckle-doorman.sock")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(); err != nil || p.Stdout.String() != "1 APIs can be served, 0 are refused\n" {
				t.Errorf("%v: %s", err, p.Stdout)
			}
		})
	}
}

// readmeBlock is the group of an expression in README.md.
func readmeBlock(t *testing.T, block string) string {
	t.Helper()
	m := regexp.MustCompile(block).FindStringSubmatch(repositoryFile(t, "README.md"))
	if m == nil {
		t.Fatalf("README.md has no %s any more", block)
	}
	return m[1]
}

// repositoryFile reads a file by its path from the root of the repository.
func repositoryFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\r\n", "\n")
}

// TestReadmeBundles runs the commands of "Ship it signed" as they stand there, and then serves.
func TestReadmeBundles(t *testing.T) {
	t.Parallel()
	block := readmeBlock(t, "(?s)## Ship it signed\n.*?```console\n(.*?)```\n")
	commands, serving, ok := strings.Cut(block, "$ bin/turnbuckle serve ")
	if !ok {
		t.Fatalf("no serve in %s", block)
	}
	dir := t.TempDir()
	script := "set -e\n" + strings.ReplaceAll(strings.ReplaceAll("\n"+commands, "\n$ ", "\n"), "bin/turnbuckle ", "turnbuckle ")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir, cmd.Env = dir, environment()
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "1 APIs can be served, 0 are refused") {
		t.Fatalf("%v: %s", err, out)
	}
	up := start(t, dir, environment(), "upstream")
	file := filepath.Join(dir, "signed/guarded.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(string(text), "127.0.0.1:9000", up.address, 1))
	flags := strings.Fields(serving)
	g := startGateway(t, dir, nil, flags[:slices.Index(flags, "--admin-listen")]...)
	if got := ask(t, g.url+"/guarded/x"); !strings.Contains(got, "X-Guard: 1.0.0") {
		t.Errorf("%s", got)
	}
}
