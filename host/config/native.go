package config

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"path/filepath"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// DefaultDefinition returns the definition of a native API about which nothing is said.
func DefaultDefinition() Definition {
	return Definition{
		Active:  true,
		Source:  Source{Format: FormatNative},
		Dialect: DialectNative,
		Listen:  Listen{Strip: true, KeepSlash: true},
		Upstream: Upstream{
			Host:             HostReplace,
			Protocol:         ProtocolAuto,
			Timeouts:         Timeouts{Dial: 5 * time.Second, Header: 60 * time.Second, Idle: 90 * time.Second},
			Retry:            Retry{Attempts: 2},
			Ejection:         Ejection{Failures: 5, For: 10 * time.Second},
			Health:           Health{Method: "GET", Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 3},
			MaxIdlePerTarget: 256,
		},
		Credential: Credential{Header: "Authorization"},
	}
}

// BundleHash is the lower-case hex MD5 of a classic bundle's name, which names it in Tyk's
// protocol; "" without one. It identifies and protects nothing.
func BundleHash(name string) string {
	if name == "" {
		return ""
	}
	sum := md5.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

// decodeNative decodes a native definition whose references are resolved. The definition is whole
// when the problems do not refuse it.
func decodeNative(file string, root *document.Node, bundles Bundles) (Definition, Problems) {
	def := DefaultDefinition()
	def.Source.File = file
	problems := expandShorthand(root)
	var d document.Decoder
	d.Decode(root, &def)
	problems = append(problems, d.Problems...)
	var v validator
	v.bundles(&def, bundles)
	v.scripts(&def)
	def.Complete()
	return def, problems.And(document.Locate(append(v.problems, def.Validate()...), root.Find))
}

// expandShorthand writes upstream.url as one target.
func expandShorthand(root *document.Node) Problems {
	upstream := root.Get("upstream")
	url := upstream.Get("url")
	if url == nil {
		return nil
	}
	if upstream.Get("targets") != nil {
		p := url.At(document.Error, "write the URL among the targets", "url is shorthand for one target and cannot stand beside targets")
		upstream.Remove("url")
		return Problems{p}
	}
	upstream.Move("url", "targets", func(value *document.Node) *document.Node {
		target := &document.Node{
			Kind: document.Mapping, File: value.File, Line: value.Line, Col: value.Col,
			Fields: []document.Field{{Key: "url", Value: value}},
		}
		return &document.Node{
			Kind: document.Sequence, File: value.File, Line: value.Line, Col: value.Col,
			Items: []*document.Node{target},
		}
	})
	return nil
}

// Complete fills in what follows from the rest: the id and name, the one version of an API that
// is not versioned, normal spellings of paths, hosts and methods. Loaders call it before Validate.
func (d *Definition) Complete() {
	if d.ID == "" {
		base := filepath.Base(d.Source.File)
		d.ID = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if d.Name == "" {
		d.Name = d.ID
	}
	if len(d.Listen.Path) > 1 {
		d.Listen.Path = d.Listen.Path[:1] + strings.TrimRight(d.Listen.Path[1:], "/")
	}
	d.Listen.Host = strings.ToLower(d.Listen.Host)
	if d.Versions.In == VersionNone && len(d.Versions.List) == 0 {
		d.Versions.List = []Version{{Name: "Default"}}
	}
	for _, phase := range Phases() {
		for i, hooks := 0, d.Hooks.In(phase); i < len(hooks); i++ {
			hooks[i].Path = cmp.Or(hooks[i].Path, document.Index("$.hooks."+string(phase), i))
		}
	}
	d.Auth.complete(&d.Hooks)
	if d.Dialect == DialectNative {
		d.Keyless = len(d.Auth.All)+len(d.Auth.Any) == 0
	}
	for _, methods := range d.methodLists() {
		for i, m := range methods {
			methods[i] = strings.ToUpper(m)
		}
	}
}

func (d *Definition) methodLists() [][]string {
	out := [][]string{d.CORS.Methods}
	rules := []*Rules{&d.Rules}
	for i := range d.Versions.List {
		rules = append(rules, &d.Versions.List[i].Rules)
	}
	for _, r := range rules {
		for _, list := range [][]PathMatch{r.Paths.Ignored, r.Paths.Allow, r.Paths.Block} {
			for _, m := range list {
				out = append(out, m.Methods)
			}
		}
		for _, l := range r.PathLimits {
			out = append(out, l.Methods)
		}
		for _, l := range r.PathRates {
			out = append(out, l.Methods)
		}
		for _, t := range r.PathTimeouts {
			out = append(out, t.Methods)
		}
		for _, e := range r.Virtual {
			out = append(out, e.Methods)
		}
		for _, h := range r.Headers.Paths {
			out = append(out, h.Methods)
		}
	}
	return out
}
