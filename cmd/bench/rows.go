package main

import "fmt"

// A row is one line of the table: one gateway, with or without hooks, under a number of connections.
type row struct {
	name        string
	setup       setup
	connections int
}

// What stands between the load and the upstream.
type kind int

const (
	direct   kind = iota // nothing
	baseline             // httputil.ReverseProxy
	gateway              // ours
	bareGRPC             // no HTTP at all: a generated gRPC client calls the unary server
)

// A setup is what a row needs running; rows with the same setup share its processes.
type setup struct {
	kind       kind
	protocol   string // of the plugin server: "", "tyk" or "native"
	transport  string // to the plugin server: "", "unix" or "tcp"
	definition string // file in testdata, for ours
}

func (s setup) String() string {
	switch s.kind {
	case direct:
		return "direct"
	case baseline:
		return "baseline"
	case bareGRPC:
		return "grpc-" + s.transport
	}
	if s.protocol == "" {
		return "ours-" + s.definition
	}
	return "ours-" + s.protocol + "-" + s.definition
}

// hooked says whether requests of the setup pass the SetHeader hook.
func (s setup) hooked() bool { return s.definition == "pre1" || s.definition == "pre4" }

// rows is the table, plugin servers being reached over the given transport.
func rows(transport string) []row {
	at := func(name string, s setup, connections ...int) []row {
		var list []row
		for _, n := range connections {
			list = append(list, row{fmt.Sprintf("%s/%d", name, n), s, n})
		}
		return list
	}
	ours := func(protocol, definition string) setup {
		if protocol == "" {
			return setup{kind: gateway, definition: definition}
		}
		return setup{gateway, protocol, transport, definition}
	}
	var all []row
	for _, group := range [][]row{
		at("direct", setup{kind: direct}, 50),
		at("baseline", setup{kind: baseline}, 50),
		at("plain", ours("", "plain"), 50, 200, 1),
		at("unary-1", ours("tyk", "pre1"), 50, 200, 1),
		at("unary-4", ours("tyk", "pre4"), 50),
		at("unary-auth", ours("tyk", "auth"), 50),
		at("stream-1", ours("native", "pre1"), 50, 200, 1),
		at("stream-4", ours("native", "pre4"), 50),
		at("stream-auth", ours("native", "auth"), 50),
		at("grpc-unix", setup{kind: bareGRPC, protocol: "tyk", transport: "unix"}, 50),
		at("grpc-tcp", setup{kind: bareGRPC, protocol: "tyk", transport: "tcp"}, 50),
	} {
		all = append(all, group...)
	}
	return all
}
