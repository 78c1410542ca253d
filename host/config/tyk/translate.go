package tyk

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Translator is the config.Translator of classic definitions. It may be used by several
// goroutines at once.
type Translator struct {
	rules   *rule
	options Options
}

// New returns a Translator.
func New(o Options) *Translator { return &Translator{rules: newRules(Fields()), options: o} }

// Recognises reports whether a document is a classic definition, one of Tyk's OAS form, or a
// dashboard's export of one; the latter two are refused by Translate with what to do.
func (tr *Translator) Recognises(root *document.Node) bool {
	if root == nil || root.Kind != document.Mapping {
		return false
	}
	// Keys of our own form decide: in it none of Tyk's keys is known.
	if root.Get("listen") != nil || root.Get("upstream") != nil {
		return false
	}
	for _, key := range []string{"proxy", "api_id", "version_data", "use_keyless", "api_definition", "x-tyk-api-gateway"} {
		if get(root, key) != nil {
			return true
		}
	}
	return false
}

// Identify reads what a definition is known by.
func (tr *Translator) Identify(root *document.Node) config.Identity {
	text := func(keys ...string) string {
		if n := get(root, keys...); n != nil && n.Kind == document.String {
			return n.Text
		}
		return ""
	}
	if get(root, oas) != nil {
		return config.Identity{ID: text(oas, "info", "id"), ListenPath: text(oas, "server", "listenPath", "value")}
	}
	if get(root, exported) != nil {
		root = get(root, exported)
	}
	id := config.Identity{ID: text("api_id"), ListenPath: listenPath(text("proxy", "listen_path"))}
	if !truthy(get(root, "domain_disabled")) {
		id.Host = strings.ToLower(text("domain"))
	}
	return id
}

// ours is the key under which a classic definition says what only this gateway knows: Tyk passes over it.
const ours = "x-turnbuckle"

// UsePath implements [config.Translator].
func (tr *Translator) UsePath() string { return document.Join("$", ours) + ".use" }

const (
	oas      = "x-tyk-api-gateway"
	exported = "api_definition"
)

// Translate makes a definition of a classic document.
func (tr *Translator) Translate(file string, root *document.Node) (config.Definition, config.Problems) {
	t := &translation{root: root, options: tr.options, origin: map[string]*document.Node{"$": root}}
	if get(root, oas) != nil {
		t.errorf(get(root, oas), "OAS definitions are not supported: export the API as a classic definition, or write a native one")
		return t.def, t.decoder.Problems
	}
	if get(root, exported) != nil && get(root, "proxy") == nil {
		t.errorf(get(root, exported), "this is a dashboard's export: put what stands under api_definition into the file by itself")
		return t.def, t.decoder.Problems
	}
	t.def = config.DefaultDefinition()
	t.bundle()
	t.walk(root, tr.rules)
	t.def.Source = config.Source{File: file, Format: config.FormatClassic}
	t.def.Dialect = config.DialectTyk
	t.def.Upstream.Ejection.Failures = 0
	t.identity()
	t.proxy()
	t.uptime()
	t.server = t.language()
	t.versions()
	t.auth()
	t.plugins()
	t.events()
	t.traffic()
	if use := t.get(ours, "use"); use != nil {
		t.decoder.Decode(use, &t.def.Use)
	}
	t.def.Complete()
	problems := t.decoder.Problems
	if !problems.Refused() {
		problems = append(problems, document.Locate(t.def.Validate(), t.find)...)
	}
	return t.def, problems
}

// translation is one document on its way.
type translation struct {
	root    *document.Node
	options Options
	def     config.Definition
	server  string // the script that has the hooks; empty for the default plugin server
	// wired are the bundles by what the nodes of their wiring say that they are from, native those that are ours.
	wired   map[string]*config.Bundle
	native  []*config.Bundle
	decoder document.Decoder
	// origin is which node of the document a path of the native form comes from.
	origin map[string]*document.Node
	// unknown counts the fields that the table does not know.
	unknown int
}

// from remembers the node behind a native path and returns it.
func (t *translation) from(path string, n *document.Node) *document.Node {
	if n != nil {
		t.origin[path] = n
	}
	return n
}

// find returns the node behind a native path, or behind the nearest path above it.
func (t *translation) find(path string) (*document.Node, bool) {
	for {
		if n := t.origin[path]; n != nil {
			return n, true
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut <= 0 {
			return t.root, true
		}
		path = path[:cut]
	}
}

func (t *translation) report(n *document.Node, s document.Severity, hint, format string, args ...any) {
	t.decoder.Report(n.At(s, hint, format, args...))
}

func (t *translation) errorf(n *document.Node, format string, args ...any) {
	t.decoder.Errorf(n, format, args...)
}

func (t *translation) warnf(n *document.Node, format string, args ...any) {
	t.report(n, document.Warning, "", format, args...)
}

// at returns the node, or the root when there is none, to report what is missing.
func (t *translation) at(n *document.Node) *document.Node {
	if n == nil {
		return t.root
	}
	return n
}

func (t *translation) text(n *document.Node) (s string) {
	if n != nil {
		t.decoder.Decode(n, &s)
	}
	return s
}

func (t *translation) truth(n *document.Node) (b bool) {
	if n != nil {
		t.decoder.Decode(n, &b)
	}
	return b
}

func (t *translation) number(n *document.Node) (i int64) {
	if n != nil {
		t.decoder.Decode(n, &i)
	}
	return i
}

func (t *translation) list(n *document.Node) (out []string) {
	if n == nil {
		return nil
	}
	if n.Kind != document.Sequence {
		t.errorf(n, "must be a list, not %s", n.Kind)
		return nil
	}
	t.decoder.Decode(n, &out)
	return out
}

// items returns the elements of a list that are not disabled.
func items(n *document.Node) []*document.Node {
	if n == nil {
		return nil
	}
	var out []*document.Node
	for _, item := range n.Items {
		if !truthy(get(item, "disabled")) {
			out = append(out, item)
		}
	}
	return out
}

func (t *translation) identity() {
	d, get := &t.def, t.get
	d.ID = t.text(t.from("$.id", get("api_id")))
	d.Name = t.text(t.from("$.name", get("name")))
	d.Org = t.text(t.from("$.org", get("org_id")))
	if !t.truth(get("tags_disabled")) {
		d.Tags = t.list(t.from("$.tags", get("tags")))
	}
	d.DoNotTrack = t.truth(get("do_not_track"))
	if active := get("active"); active != nil && !t.truth(active) {
		t.warnf(active, "the API is served all the same, as Tyk serves every definition in a file: move the file away to stop it")
	}
	if p := get("protocol"); p != nil {
		if s := t.text(p); s != "" && s != "http" && s != "https" {
			t.errorf(p, "listen protocol %q is not supported: http and https are", s)
		}
	}
	if config := get("config_data"); config != nil && config.Kind != document.Mapping {
		t.errorf(config, "must be a mapping, not %s", config.Kind)
	} else if config != nil && len(config.Fields) > 0 {
		t.decoder.Decode(config, &d.Config)
	}
	if d.ConfigDisabled = t.truth(get("config_data_disabled")); d.ConfigDisabled {
		d.Config = nil
	}
}

// get returns a value of the document.
func (t *translation) get(keys ...string) *document.Node { return get(t.root, keys...) }
