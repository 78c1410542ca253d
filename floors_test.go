package turnbuckle_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A room is a folder, or a folder with all below it (/...), and what it may import. Its own subfolders a room
// may always import; of ours otherwise only what lies on a lower floor.
type room struct {
	dir     string
	floor   int
	own     []string // if not nil: of ours, only these instead of whatever is below
	peers   []string // of ours and on the same floor, these too
	outside []string // if not nil: of other modules, only those with these prefixes
	apart   bool     // the folders of this room are strangers to one another
}

// The floors of the house, first match wins. A package that is in no room fails the test: give it one, with a
// thought for who will import it.
func rooms() []room {
	none := []string{}
	return []room{
		{dir: ".", floor: 6, own: none}, // these tests
		{dir: "cmd/turnbuckle/...", floor: 5},
		{dir: "cmd/bench/...", floor: 5},
		{dir: "cmd/plugin", floor: 5, own: []string{"sdk", "sdk/serve", "plugins/all"}, outside: none},
		{dir: "cmd/demo/...", floor: 5, peers: []string{"cmd/bench/proc"}},

		{dir: "coprocess/rpc/...", floor: 4},
		{dir: "coprocess/process/...", floor: 4, peers: []string{"coprocess/rpc"}},
		{dir: "coprocess/python/...", floor: 4, peers: []string{"coprocess/process", "coprocess/process/...", "coprocess/rpc"}},
		{dir: "coprocess/script/...", floor: 4},
		{dir: "coprocess/storehttp", floor: 4, peers: []string{"coprocess/script"}},
		{dir: "coprocess/lua/...", floor: 4, peers: []string{"coprocess/script", "coprocess/script/..."}},
		{dir: "coprocess/js/...", floor: 4, peers: []string{"coprocess/script", "coprocess/script/..."}},
		{dir: "coprocess/isolate", floor: 4, peers: []string{"coprocess/process", "coprocess/process/...", "coprocess/script", "coprocess/js", "coprocess/lua", "coprocess/lua/interp", "coprocess/storehttp"}},
		{dir: "coprocess/inproc/...", floor: 4},
		{dir: "coprocess/coprocesstest/...", floor: 4},
		{dir: "host/admin/...", floor: 4},

		{dir: "coprocess", floor: 3},
		{dir: "host/upstream/...", floor: 3},
		{dir: "host/front/...", floor: 3},
		{dir: "host/rules/...", floor: 3},
		{dir: "host/observe/tap", floor: 2, own: []string{"sdk"}},
		{dir: "host/observe/...", floor: 3},

		{dir: "host/flow", floor: 2, own: []string{"sdk"}},
		{dir: "host/policy", floor: 2, peers: []string{"host/flow"}},
		{dir: "host/reply", floor: 2, peers: []string{"host/flow"}},
		{dir: "host/identity/authn/...", floor: 2, peers: []string{"host/identity", "host/identity/keyid"}},
		{dir: "host/identity/jwt/...", floor: 2, peers: []string{"host/identity", "host/identity/keyid", "host/identity/authn"}},
		{dir: "host/identity/...", floor: 2},
		{dir: "host/limit/...", floor: 2},
		{dir: "sdk/wire", floor: 2},
		{dir: "sdk/serve/...", floor: 2, peers: []string{"sdk/wire"}},
		{dir: "sdk/sdktest/...", floor: 2, peers: []string{"sdk/wire"}},
		{dir: "plugins/internal/remotetest", floor: 5}, // runs plugins behind the wire, for their tests
		{dir: "plugins/internal/ship/post", floor: 2, own: []string{"sdk", "plugins/internal/ship"}, outside: []string{"github.com/klauspost/compress/gzip"}},
		{dir: "plugins/internal/ship/...", floor: 2, own: []string{"sdk", "internal/instant"}, outside: none},
		{dir: "plugins/all", floor: 2, own: []string{"sdk", "plugins/..."}, outside: none},
		{dir: "plugins/bots", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/hashicorp/golang-lru/v2/simplelru"}, apart: true},
		{dir: "plugins/correlation", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/oklog/ulid/v2"}, apart: true},
		{dir: "plugins/webhook", floor: 2, own: []string{"sdk", "plugins/internal/ship/...", "internal/template"}, outside: []string{"github.com/google/uuid", "golang.org/x/time/rate"}, apart: true},
		{dir: "plugins/kafka", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/twmb/franz-go"}, apart: true},
		{dir: "plugins/nats", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/nats-io/nats.go"}, apart: true},
		{dir: "plugins/amqp", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/rabbitmq/amqp091-go"}, apart: true},
		{dir: "plugins/datadog", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: []string{"github.com/DataDog/datadog-go/v5"}, apart: true},
		// A plugin with a client library gets a line of its own before this one, naming the library.
		{dir: "plugins/...", floor: 2, own: []string{"sdk", "plugins/internal/ship/..."}, outside: none, apart: true},

		{dir: "sdk", floor: 1, own: none, outside: none},
		{dir: "sdk/node", floor: 1, own: none, outside: none},
		{dir: "sdk/python", floor: 1, own: none, outside: none},
		{dir: "bundles/...", floor: 1, own: none, outside: []string{"golang.org/x/crypto"}},
		{dir: "host/config/...", floor: 1, own: []string{"internal/template"}},
		{dir: "host/store/...", floor: 1, own: none},

		// Runs programs for tests: those of the gateway and those of the examples alike.
		{dir: "internal/processtest", floor: 0, own: none, outside: none},
		{dir: "internal/pythontest", floor: 0, own: none, outside: none},

		// The language of templates, for every floor.
		{dir: "internal/template", floor: 0, own: none, outside: none},
		{dir: "internal/instant", floor: 0, own: none, outside: none},

		{dir: "proto/...", floor: 0, outside: []string{"google.golang.org/protobuf", "google.golang.org/grpc"}},

		// What the tests of examples in other languages share: the program as a whole, and no package of ours.
		{dir: "examples/internal/gatewaytest", floor: 2, own: []string{"internal/processtest"}},
		{dir: "examples/...", floor: 3, own: []string{"sdk", "sdk/...", "proto/...", "examples/internal/gatewaytest"}, apart: true},

		// The host itself comes last: what is in host/ and in none of the rooms above has no floor.
		{dir: "host", floor: 3, peers: []string{"host/upstream", "host/front", "host/rules", "host/observe"}},
	}
}

// Generated messages, and the libraries they come with, are seen by these alone. cmd/bench plays an unmodified
// plugin server and the bare gRPC pair that hooks are measured against; cmd/turnbuckle/conform plays a host that no host is.
func messageReaders() []string {
	return []string{"proto/...", "sdk/wire", "sdk/serve/...", "coprocess", "coprocess/...", "examples/...", "cmd/bench/...", "cmd/turnbuckle/conform/..."}
}

func messages() []string {
	return []string{"proto/coprocess", "proto/plugin/...", "google.golang.org/grpc/...", "google.golang.org/protobuf/..."}
}

func TestFloors(t *testing.T) {
	folders := load(t, os.DirFS("."))
	if len(folders) < 3 {
		t.Fatalf("found %d packages: the test no longer reads the tree", len(folders))
	}
	for _, problem := range floorProblems(folders) {
		t.Error(problem)
	}
}

// within reports whether dir is the pattern, or below it when the pattern ends in /...
func within(dir, pattern string) bool {
	parent, deep := strings.CutSuffix(pattern, "/...")
	return dir == parent || deep && strings.HasPrefix(dir, parent+"/")
}

func withinAny(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return within(dir, p) })
}

func findRoom(dir string) (room, bool) {
	all := rooms()
	i := slices.IndexFunc(all, func(r room) bool { return within(dir, r.dir) })
	if i < 0 {
		return room{}, false
	}
	return all[i], true
}

func floorProblems(folders []folder) []string {
	var problems []string
	graph := map[string][]string{} // what each package of ours imports of ours
	for _, f := range folders {
		from, ok := findRoom(f.dir)
		if !ok {
			problems = append(problems, f.dir+": is on no floor: give it a room in floors_test.go")
			continue
		}
		for _, s := range f.sources {
			if s.test && !within(f.dir, "examples/...") {
				continue // tests may look down from above; examples stay outsiders in their tests too
			}
			for _, imported := range s.imports() {
				target, ours := strings.CutPrefix(imported, module+"/")
				if ours {
					graph[f.dir] = append(graph[f.dir], target)
				}
				if why := refused(f.dir, from, target, ours); why != "" {
					problems = append(problems, fmt.Sprintf("%s: imports %s: %s", s.path, target, why))
				}
			}
		}
	}
	return append(problems, hostReaches(folders, graph)...)
}

// refused says why the package in dir may not import target, or nothing.
func refused(dir string, from room, target string, ours bool) string {
	if withinAny(target, messages()) && !withinAny(dir, messageReaders()) {
		return "generated messages and gRPC are for proto, sdk/wire, sdk/serve and coprocess"
	}
	if !ours {
		first, _, _ := strings.Cut(target, "/")
		if from.outside == nil || !strings.Contains(first, ".") {
			return ""
		}
		if slices.ContainsFunc(from.outside, func(p string) bool { return within(target, p+"/...") }) {
			return ""
		}
		return fmt.Sprintf("of other modules only %q are allowed here", from.outside)
	}
	to, ok := findRoom(target)
	switch {
	case !ok:
		return "is on no floor"
	case to.dir == from.dir && (!from.apart || within(target, dir+"/...") || within(dir, target+"/...")):
		return ""
	case withinAny(target, from.peers):
		return ""
	case from.own != nil && !withinAny(target, from.own):
		return fmt.Sprintf("of ours only %q are allowed here", from.own)
	case from.own == nil && to.floor >= from.floor:
		return fmt.Sprintf("floor %d may not import floor %d", from.floor, to.floor)
	}
	return ""
}

// hostReaches lists the ways, however long, from the host to what it must not know.
func hostReaches(folders []folder, graph map[string][]string) []string {
	var problems []string
	banned := []string{"coprocess", "coprocess/...", "bundles/...", "proto/..."}
	for _, f := range folders {
		if !within(f.dir, "host/...") || within(f.dir, "host/admin/...") {
			continue
		}
		seen := map[string]bool{}
		var walk func(trail []string)
		walk = func(trail []string) {
			at := trail[len(trail)-1]
			if seen[at] {
				return
			}
			seen[at] = true
			if withinAny(at, banned) {
				problems = append(problems, "the host must not know "+at+": "+strings.Join(trail, " -> "))
				return
			}
			for _, next := range graph[at] {
				walk(append(slices.Clone(trail), next))
			}
		}
		walk([]string{f.dir})
	}
	return problems
}

// Each rule of the floors, broken once.
func TestFloorsRefuse(t *testing.T) {
	tests := []struct {
		name, path, source string
		want               string // part of a problem; empty: none
	}{
		{"down", "host/x.go", imports("host", "sdk"), ""},
		{"sideways to a peer", "host/x.go", imports("host", "host/front"), ""},
		{"own subfolder", "cmd/bench/x.go", imports("main", "cmd/bench/load"), ""},
		{"up", "host/config/x.go", imports("config", "host"), "of ours only"},
		{"host knows plugins' protocol", "host/x.go", imports("host", "coprocess"), "floor 3 may not import floor 3"},
		{"sideways", "coprocess/lua/x.go", imports("lua", "coprocess/js"), "floor 4 may not import floor 4"},
		{"host sees messages", "host/x.go", imports("host", "proto/coprocess"), "generated messages"},
		{"cmd sees messages", "cmd/turnbuckle/x.go", imports("main", "proto/plugin/v1"), "generated messages"},
		{"cmd reads the specification", "cmd/turnbuckle/x.go", imports("main", "proto"), ""},
		{"host sees gRPC", "host/front/x.go", "package front\nimport _ \"google.golang.org/grpc/codes\"\n", "generated messages"},
		{"contract leaves the standard library", "sdk/x.go", "package sdk\nimport _ \"golang.org/x/net/http2\"\n", "of other modules only"},
		{"contract in the standard library", "sdk/x.go", "package sdk\nimport _ \"net/url\"\n", ""},
		{"bundles sign", "bundles/x.go", "package bundles\nimport _ \"golang.org/x/crypto/ssh\"\n", ""},
		{"plugin sees the host", "plugins/echo/x.go", imports("echo", "host/config"), "of ours only"},
		{"plugin sees another", "plugins/echo/x.go", imports("echo", "plugins/mock"), "of ours only"},
		{"plugin brings a library", "plugins/echo/x.go", "package echo\nimport _ \"github.com/x/y\"\n", "of other modules only"},
		{"example is an insider", "examples/go-grpc/x_test.go", imports("main", "coprocess/rpc"), "of ours only"},
		{"homeless", "host/misc/x.go", "package misc\n", "is on no floor"},
		{"homeless at the top", "tools/x.go", "package tools\n", "is on no floor"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := floorProblems(load(t, fstest.MapFS{test.path: {Data: []byte(test.source)}}))
			if test.want == "" && len(got) > 0 || test.want != "" && !strings.Contains(strings.Join(got, "\n"), test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("host reaches messages in two steps", func(t *testing.T) {
		got := floorProblems(load(t, fstest.MapFS{
			"host/x.go":     {Data: []byte(imports("host", "sdk/wire"))},
			"sdk/wire/x.go": {Data: []byte(imports("wire", "proto/coprocess"))},
		}))
		if want := "host -> sdk/wire -> proto/coprocess"; len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("got %q, want one with %q", got, want)
		}
	})
}

// imports is a file of package name that imports dir of this module.
func imports(name, dir string) string {
	return fmt.Sprintf("package %s\n\nimport _ %q\n", name, module+"/"+dir)
}
