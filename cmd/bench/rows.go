package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/foreign"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
)

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
	protocol   string      // of the plugin server: "", "tyk" or "native"
	transport  string      // to the plugin server: "", "unix" or "tcp"
	language   string      // of the plugin server: "" for this program, foreign.Python or foreign.Node
	workers    int         // in Python, its processes
	definition string      // file in testdata, for ours
	keys       int         // requests bear the tokens of so many keys, drawn at random; 0: all of them the same credential
	redis      string      // how it counts in the Redis where its keys are: "", "exact" or "distributed"
	sink       sinks.State // of what the plugin called as the definition ships to; "": it ships nothing
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
	name := "ours"
	if s.language != "" {
		name += "-" + s.language + strconv.Itoa(s.workers)
	}
	for _, part := range []string{s.protocol, s.definition, s.redis, string(s.sink)} {
		if part != "" {
			name += "-" + part
		}
	}
	if s.keys > 0 {
		name += "-" + strconv.Itoa(s.keys)
	}
	return name
}

// hooked says whether requests of the setup pass the SetHeader hook.
func (s setup) hooked() bool {
	return slices.Contains([]string{"pre1", "pre4", "sleep", "js", "lua", "js10", "lua10", "jstyk", "luatyk"}, s.definition)
}

// rewritten says whether a hook changes the upstream's body.
func (s setup) rewritten() bool { return s.definition == "jsbody" || s.definition == "luabody" }

// guarded says whether requests of the setup are refused without a credential.
func (s setup) guarded() bool {
	open := slices.Contains([]string{"plain", "classic", "correlation", "bots"}, s.definition) || s.hooked() || s.rewritten() || s.sink != ""
	return s.kind == gateway && !open
}

// limited says whether a quota is counted for requests of the setup.
func (s setup) limited() bool { return s.definition == "keylimits" }

// stored says whether the gateway keeps who calls in a store.
func (s setup) stored() bool { return s.guarded() && s.definition != "auth" }

// How many keys there are: few, which stay in the gateway's memory, and many, which do not.
const (
	few  = 1_000
	many = 1_000_000
)

// apart is a setup with a plugin server in another language.
func apart(language string, workers int, definition string) setup {
	return setup{kind: gateway, protocol: "native", transport: "unix", language: language, workers: workers, definition: definition}
}

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
		return setup{kind: gateway, protocol: protocol, transport: transport, definition: definition}
	}
	keyed := func(definition string, keys int, redis string) setup {
		return setup{kind: gateway, definition: definition, keys: keys, redis: redis}
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
		at("extractor", ours("native", "extractor"), 50),
		at("python-1", apart(foreign.Python, 1, "pre1"), 50),
		at("python-2", apart(foreign.Python, 2, "pre1"), 50),
		at("python-4", apart(foreign.Python, 4, "pre1"), 50),
		at("python-sleep", apart(foreign.Python, 2, "sleep"), 50),
		at("node-stream", apart(foreign.Node, 0, "pre1"), 50),
		at("js", ours("", "js"), 50, 1),
		at("plain-classic", ours("", "classic"), 50),
		at("js-tyk", ours("", "jstyk"), 50),
		at("js-body", ours("", "jsbody"), 50),
		at("js-10", ours("", "js10"), 50),
		at("lua", ours("", "lua"), 50, 1),
		at("lua-tyk", ours("", "luatyk"), 50),
		at("lua-body", ours("", "luabody"), 50),
		at("lua-10", ours("", "lua10"), 50),
		at("plain-tokens", keyed("plain", few, ""), 50),
		at("key", keyed("key", few, ""), 50),
		at("key-limits", keyed("keylimits", few, ""), 50),
		at("key-limits-1m", keyed("keylimits", many, ""), 50),
		at("redis-exact", keyed("keylimits", few, "exact"), 50),
		at("redis-distributed", keyed("keylimits", few, "distributed"), 50),
		at("jwt", ours("", "jwt"), 50),
		at("jwt-no-cache", ours("", "jwtnocache"), 50),
	} {
		all = append(all, group...)
	}
	return append(all, readyMade()...)
}

// shippers are the plugins that ship what gateways have to say.
func shippers() []string { return []string{"amqp", "datadog", "kafka", "loggly", "nats", "webhook"} }

// readyMade are the rows of plugins that are part of the gateway; those that ship, with each state of their sink.
func readyMade() []row {
	var list []row
	add := func(name, definition string, sink sinks.State) {
		list = append(list, row{"plugins-" + name + "/50", setup{kind: gateway, definition: definition, sink: sink}, 50})
	}
	add("bots", "bots", "")
	add("correlation", "correlation", "")
	for _, name := range shippers() {
		add(name, name, sinks.Up)
		add(name+"-down", name, sinks.Down)
		if name != "datadog" { // whose packets nobody answers
			add(name+"-silent", name, sinks.Silent)
		}
	}
	return list
}
