package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// write fills a folder with files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const classicOrders = `{"api_id": "c", "use_keyless": true, "proxy": {"listen_path": "/c/", "target_url": "http://c"},
"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}}`

func TestLoadDir(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml":      "listen: {path: /a}\nupstream: {url: http://a}\n",
		"b.json":      `{"id": "bee", "listen": {"path": "/b"}, "upstream": {"url": "http://b"}}`,
		"c.json":      classicOrders,
		"d.yml":       "listen: {path: /d, host: D.example.com}\nupstream: {url: http://d}\nnonsense: 1\n",
		"e.yaml":      "id: bee\nlisten: {path: /e}\nupstream: {url: http://e}\n",
		"f.yaml":      "listen: {path: /a/}\nupstream: {url: http://f}\n",
		"g.yaml":      "listen: {path: /d, host: d.EXAMPLE.com}\nupstream: {url: http://g}\n",
		"h.yaml":      "active: false\nlisten: {path: /a}\nupstream: {url: http://h}\n",
		"half.json":   `{"id": "half", "listen": {"path": "/half"}, "upstream": {`,
		"half.yaml":   "id: half-yaml\nlisten: {path: /half-yaml}\nupstream: {url: [\n",
		"i.yaml":      "",
		"o.json":      `{"api_id": "o", "proxy": {"listen_path": "/o/"}}`,
		"o-oas.json":  `{"openapi": "3.0.3", "x-tyk-api-gateway": {"info": {"id": "o"}, "server": {"listenPath": {"value": "/o/"}}}}`,
		"oas.json":    `{"openapi": "3.0.3", "x-tyk-api-gateway": {"info": {"id": "p"}, "server": {"listenPath": {"value": "/p/"}}}}`,
		"readme.md":   "not a definition",
		".hidden.yml": "not: read",
		"sub/x.yaml":  "not: read",
	})
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, problems := config.Loader{Classic: tyk.New(tyk.Options{})}.LoadDir(dir)
	var got []string
	for _, d := range set.Definitions {
		got = append(got, filepath.Base(d.Source.File)+" "+d.ID+" "+d.Listen.Path)
	}
	want := []string{"a.yaml a /a", "b.json bee /b", "c.json c /c", "h.yaml h /a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("definitions (-want +got)\n%s", diff)
	}
	got = nil
	for _, r := range set.Refused {
		first := strings.ReplaceAll(r.Problems.Of(config.SeverityError)[0].Error(), dir+"/", "")
		got = append(got, r.ID+" "+r.Host+r.ListenPath+" "+first)
	}
	want = []string{
		`d D.example.com/d d.yml:3:11: $.nonsense: unknown key`,
		`bee /e e.yaml: id "bee" is already that of b.json, which stands`,
		`f /a f.yaml: listen path /a is already that of a.yaml, which stands`,
		`folder  folder.json: cannot read the file: folder.json: not a regular file`,
		`g d.example.com/d g.yaml: listen path d.example.com/d is already that of d.yml, which stands`,
		`half /half half.json:1:58: not JSON: file ends in the middle of the JSON value`,
		`half-yaml /half-yaml half.yaml:3:1: not YAML: did not find expected node content`,
		`i  i.yaml: file is empty`,
		`o /o/ o-oas.json: Tyk OAS definitions are not supported, and this file is one half of a pair with o.json (export the API as a classic definition, or write a native one)`,
		`o /o/ o.json: Tyk OAS definitions are not supported, and this file is one half of a pair with o-oas.json (export the API as a classic definition, or write a native one)`,
		`p /p/ oas.json:1:43: $.x-tyk-api-gateway: OAS definitions are not supported: export the API as a classic definition, or write a native one`,
		`pipe  pipe.yaml: cannot read the file: pipe.yaml: not a regular file`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got)\n%s", diff)
	}
	if !problems.Refused() || len(problems.Of(config.SeverityError)) < len(want) {
		t.Errorf("problems: %v", problems)
	}
}

func TestLoadDirMissing(t *testing.T) {
	set, problems := config.Loader{}.LoadDir("/nonexistent/apis")
	if len(set.Definitions)+len(set.Refused) != 0 || len(problems) != 1 ||
		problems[0].Error() != "/nonexistent/apis: the folder of definitions does not exist (make it, or name another with --apis or apis in the settings)" {
		t.Errorf("got %v", problems)
	}
}

// TestFilesStayInside: what a definition names lies in its folder, whatever links say.
func TestFilesStayInside(t *testing.T) {
	secrets := write(t, map[string]string{"token": "s3cret\n"})
	outside := write(t, map[string]string{"ca.pem": "x"})
	dir := write(t, map[string]string{"apis/ca.pem": "x", "apis/name": "from-file\r\n", "up.pem": "x"})
	if err := os.Symlink(filepath.Join(outside, "ca.pem"), filepath.Join(dir, "apis/link.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ca.pem", filepath.Join(dir, "apis/good.pem")); err != nil {
		t.Fatal(err)
	}
	base := "name: file:name\nlisten: {path: /a}\nupstream: {url: http://a, tls: {ca: CA}}\norg: ORG\n"
	tests := []struct{ ca, org, want string }{
		{"ca.pem", "o", ""},
		{"good.pem", "o", ""},
		{"link.pem", "o", `a.yaml:3:37: $.upstream.tls.ca: cannot use "link.pem"`},
		{"../up.pem", "o", `a.yaml:3:37: $.upstream.tls.ca: cannot use "../up.pem"`},
		{dir + "/apis/ca.pem", "o", `a.yaml:3:37: $.upstream.tls.ca: cannot use`},
		{"gone.pem", "o", `a.yaml:3:37: $.upstream.tls.ca: cannot use "gone.pem": no such file`},
		{"ca.pem", "file:" + secrets + "/token", ""},
		{"ca.pem", "file:" + outside + "/ca.pem", `a.yaml:4:6: $.org: cannot read the file that the value refers to`},
		{"ca.pem", "file:" + secrets + "/../token", `a.yaml:4:6: $.org: cannot read the file that the value refers to`},
		{"ca.pem", "env:TURNBUCKLE_ADMIN_SECRET", `a.yaml:4:6: $.org: environment variable TURNBUCKLE_ADMIN_SECRET cannot be read here`},
	}
	for _, tt := range tests {
		text := strings.ReplaceAll(strings.ReplaceAll(base, "CA", tt.ca), "ORG", tt.org)
		loader := config.Loader{SecretDirs: []string{secrets}, LookupEnv: func(string) (string, bool) { return "x", true }}
		def, refused := loader.Parse(filepath.Join(dir, "apis", "a.yaml"), []byte(text))
		if tt.want == "" {
			if refused != nil {
				t.Errorf("%s %s: %v", tt.ca, tt.org, refused.Problems)
			} else if def.Name != "from-file" {
				t.Errorf("name is %q", def.Name)
			}
			continue
		}
		if refused == nil || len(refused.Problems) != 1 || !strings.HasPrefix(place(refused.Problems[0]), tt.want) {
			t.Errorf("%s %s:\ngot  %+v\nwant %s", tt.ca, tt.org, refused, tt.want)
		}
	}
}

func TestDefinitionProblems(t *testing.T) {
	const good = "listen: {path: /a}\nupstream: {url: http://a}\n"
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"everything missing", "{}\n", []string{
			`n.yaml:1:1: $.listen.path: a listen path is required`,
			`n.yaml:1:1: $.upstream: an upstream url is required`,
		}},
		{"shorthand keeps its place", "listen: {path: /a}\nupstream:\n  url: ftp://a\n", []string{
			`n.yaml:3:8: $.upstream.url: "ftp://a" must begin with http:// or https://`}},
		{"shorthand and targets", "listen: {path: /a}\nupstream: {url: http://a, targets: [{url: http://b}]}\n", []string{
			`n.yaml:2:17: $.upstream.url: url is shorthand for one target and cannot stand beside targets (write the URL among the targets)`}},
		{"nested unknown keys", good + "hooks: {pre: [{hook: x, timout: 1s}]}\nbudget: 0s\n", []string{
			`n.yaml:3:33: $.hooks.pre[0].timout: unknown key (did you mean "timeout"?)`,
			`n.yaml:4:9: $.budget: must be greater than 0`,
		}},
		{"auth", good + "hooks:\n  auth:\n    - {hook: a, on_error: skip}\n    - any: [{hook: b}]\n  response: [{hook: c, body: all, breaker: {window: 1s}}]\n", []string{
			`n.yaml:5:27: $.hooks.auth[0].on_error: an auth hook that fails must fail the request: skip would let everyone in`,
			`n.yaml:6:7: $.hooks.auth[1].hook: a name is required`,
			`n.yaml:6:12: $.hooks.auth[1].any: groups stand under auth: write ` + "`auth: {all: [...]}`" + ` or`,
			`n.yaml:7:30: $.hooks.response[0].body: "all": must be none, buffer or {buffer: SIZE}`,
			`n.yaml:7:44: $.hooks.response[0].breaker.error_rate: required: without it the breaker never opens`,
		}},
		{"auth methods", good + "auth:\n  any:\n    - tokens\n    - {token: {}, basic: {}}\n    - jwt: {method: none}\n    - hmac: {algorithms: [md5], skew: 1s}\n    - hook: {hook: x, on_error: skip, id_extractor: {from: body, with: value}}\n    - hook: {hook: y, id_extractor: {from: query, with: regex, name: q, expression: '('}}\n    - any: []\n    - certificate: {allow: [abc]}\n  identity: z\n", []string{
			`n.yaml:5:7: $.auth.any[0]: "tokens": must be one of token`,
			`n.yaml:6:26: $.auth.any[1].basic: a method has one kind, and this one is token already`,
			`n.yaml:7:21: $.auth.any[2].jwt.method: "none": must be hmac, rsa, ecdsa or eddsa`,
			`n.yaml:8:27: $.auth.any[3].hmac.algorithms[0]: "md5"`,
			`n.yaml:9:33: $.auth.any[4].hook.on_error: an auth hook that fails`,
			`n.yaml:9:72: $.auth.any[4].hook.id_extractor.with: a whole body is no id`,
			`n.yaml:10:85: $.auth.any[5].hook.id_extractor.expression: "("`,
			`n.yaml:11:12: $.auth.any[6].any: a group needs methods`,
			`n.yaml:12:29: $.auth.any[7].certificate.allow[0]: must be`,
			`n.yaml:13:13: $.auth.identity: no method is named "z"`,
		}},
		{"auth method options", good + "auth:\n  any:\n    - jwt: {source: x}\n    - hmac: {algorithms: [md5], once: true}\n    - hook: {hook: x, on_error: skip, id_extractor: {from: body, with: value}}\n    - hook: {hook: y, id_extractor: {from: query, with: regex, name: q, expression: '('}}\n    - certificate: {allow: [abc]}\n    - {name: x, token: {header: '', signature: {algorithm: rot13}}}\n    - {name: bodies, basic: {body_user: x}}\n  identity: z\n", []string{
			`n.yaml:5:12: $.auth.any[0].jwt.method: name the family of algorithms`,
			`n.yaml:5:21: $.auth.any[0].jwt.source: must be a public key`,
			`n.yaml:6:27: $.auth.any[1].hmac.algorithms[0]: "md5" must be one of`,
			`n.yaml:7:33: $.auth.any[2].hook.on_error: an auth hook that fails must fail the request`,
			`n.yaml:7:72: $.auth.any[2].hook.id_extractor.with: a whole body is no id`,
			`n.yaml:8:85: $.auth.any[3].hook.id_extractor.expression: "(" is not a regular expression`,
			`n.yaml:9:29: $.auth.any[4].certificate.allow[0]: must be the SHA-256 of a certificate`,
			`n.yaml:10:24: $.auth.any[5].token: a second method named "x"`,
			`n.yaml:10:24: $.auth.any[5].token: the credential is nowhere to be found`,
			`n.yaml:10:48: $.auth.any[5].token.signature: the signature is nowhere to be found`,
			`n.yaml:10:48: $.auth.any[5].token.signature.secret: a secret is required`,
			`n.yaml:10:60: $.auth.any[5].token.signature.algorithm: "rot13" must be MasherySHA256 or MasheryMD5`,
			`n.yaml:11:29: $.auth.any[6].basic: body_user and body_password come together`,
			`n.yaml:11:41: $.auth.any[6].basic.body_user: "x" needs a group`,
			`n.yaml:12:13: $.auth.identity: no method is named "z"`,
		}},
		{"the identity of a group", good + "auth:\n  all: [{any: [token, basic]}]\n  identity: any\n", []string{
			`n.yaml:5:13: $.auth.identity: no method is named "any"`,
		}},
		{"auth twice", good + "auth: {all: [token], any: [basic]}\nhooks: {auth: [{hook: x}]}\nlimits: {rate: {requests: 5}}\n", []string{
			`n.yaml:3:27: $.auth.any: all and any stand side by side`,
			`n.yaml:4:15: $.hooks.auth: auth hooks are listed under auth too`,
			`n.yaml:5:16: $.limits.rate: a rate has requests and per`,
		}},
		{"post_key_auth without auth", good + "hooks: {post_key_auth: [{hook: x}]}\n", []string{
			`n.yaml:3:24: $.hooks.post_key_auth: post_key_auth hooks run after authentication, and there is none: list them under pre or post`}},
		{"upstream", "listen: {path: /a}\nupstream:\n  targets: [{url: 'https://u:p@a'}, {url: 'http://a?x=1', weight: 0}]\n  protocol: h2c\n  tls: {cert: x}\n  retry: {attempts: 99}\n  health: {path: /x}\n", []string{
			`n.yaml:3:19: $.upstream.targets[0].url: a user in a target is not supported`,
			`n.yaml:3:19: $.upstream.targets[0].url: protocol h2c is HTTP/2 in the clear and needs an http:// target`,
			`n.yaml:3:43: $.upstream.targets[1].url: "http://a?x=1" must not have a query or fragment`,
			`n.yaml:3:67: $.upstream.targets[1].weight: must be greater than 0`,
			`n.yaml:5:8: $.upstream.tls.key: required with cert`,
			`n.yaml:5:15: $.upstream.tls.cert: cannot use "x": no such file`,
			`n.yaml:6:21: $.upstream.retry.attempts: must be between 1 and 10`,
			`n.yaml:7:11: $.upstream.health.interval: required: without it no health check runs`,
		}},
		{"listen", "listen: {path: '/a//b', host: 'h:80', match: loose}\nupstream: {url: http://a}\n", []string{
			`n.yaml:1:16: $.listen.path: "/a//b" must not have empty, "." or ".." segments`,
			`n.yaml:1:31: $.listen.host: "h:80" is not a host name`,
			`n.yaml:1:46: $.listen.match: "loose": must be segments or prefix`,
		}},
		{"rules", good + "paths: {block: [{path: admin}, {methods: [GET]}]}\npath_limits: [{path: /x}]\nheaders: {request: {set: {Host: x, \"a b\": y, X: \"a\\r\\nb\"}}}\n", []string{
			`n.yaml:3:24: $.paths.block[0].path: "admin": bad path pattern: must begin with "/", or with "~" for a regular expression`,
			`n.yaml:3:32: $.paths.block[1].path: a path is required`,
			`n.yaml:4:15: $.path_limits[0].body: a size greater than 0 is required`,
			`n.yaml:5:33: $.headers.request.set.Host: header Host belongs to the gateway and cannot be set`,
			`n.yaml:5:43: $.headers.request.set["a b"]: "a b" is not a header name`,
			`n.yaml:5:49: $.headers.request.set.X: a header value must not have line breaks or NUL`,
		}},
		{"versions", good + "versions: {in: header, default: v9, list: [{name: v1}, {name: v1}]}\n", []string{
			`n.yaml:3:11: $.versions.key: "" is not a header name`,
			`n.yaml:3:33: $.versions.default: there is no version "v9"`,
			`n.yaml:3:63: $.versions.list[1].name: version "v1" stands twice`,
		}},
		{"templates", good + "errors: {templates: [{status: 200, type: json, text: '{{.Message'}]}\n", []string{
			`n.yaml:3:31: $.errors.templates[0].status: must be between 400 and 599, or 0 for any`,
			`n.yaml:3:54: $.errors.templates[0].text: not a template:`,
		}},
		{"double key and alias", "listen: {path: /a, path: /b}\nupstream: &u {url: http://a}\n", []string{
			`n.yaml:1:20: $.listen.path: key stands twice in one mapping`,
			`n.yaml:2:11: YAML anchors and aliases are not accepted: write the value out`,
		}},
		{"two documents", good + "---\nx: 1\n", []string{`n.yaml: more than one YAML document in the file`}},
		{"a string", "hello\n", []string{`n.yaml:1:1: $: a definition must be a mapping, not a string`}},
		{"a tag", "listen: !x {path: /a}\nid: !!binary aGk=\n", []string{
			`n.yaml:1:9: YAML tag !x is not accepted`, `n.yaml:2:5: YAML tag !!binary is not accepted`}},
		{"not UTF-8", "id: \xff\n", []string{`n.yaml:1:5: not UTF-8 text`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, refused := config.Loader{}.Parse(filepath.Join(t.TempDir(), "n.yaml"), []byte(tt.yaml))
			if refused == nil {
				t.Fatalf("accepted: %+v", def)
			}
			got := places(refused.Problems)
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.want[i])
				}
			}
		})
	}
}

// TestGarbage: whatever a file holds, it is refused in good time with a bound on the problems.
func TestGarbage(t *testing.T) {
	const size = 1 << 20
	garbage := map[string]string{
		"brackets":     strings.Repeat("[", size),
		"braces":       strings.Repeat(`{"a":`, size/5),
		"closed":       strings.Repeat("[", size/2) + strings.Repeat("]", size/2),
		"dashes":       strings.Repeat("- ", size/2),
		"question":     strings.Repeat("? ", size/2),
		"anchors":      strings.Repeat("&a ", size/3),
		"same keys":    strings.Repeat("a: b\n", size/5),
		"many values":  "a: [" + strings.Repeat("0,", size/2-4) + "]",
		"long key":     `{"` + strings.Repeat("k", size/2) + `": [` + strings.Repeat("x,", 1000) + `]}`,
		"nulls":        strings.Repeat("\x00", size),
		"too large":    strings.Repeat("#", document.MaxBytes+1),
		"unknown keys": "{" + strings.Repeat(`"\u0061": 1,`, 10) + `"z": 1}`,
	}
	for name, text := range garbage {
		for _, file := range []string{"g.json", "g.yaml"} {
			_, refused := config.Loader{Classic: tyk.New(tyk.Options{})}.Parse(file, []byte(text))
			if refused == nil || len(refused.Problems) > 300 {
				t.Errorf("%s as %s: %v", name, file, refused)
				continue
			}
			for _, p := range refused.Problems {
				if len(p.Error()) > 2000 {
					t.Errorf("%s as %s: a problem of %d bytes", name, file, len(p.Error()))
				}
			}
		}
	}
}

func FuzzDefinition(f *testing.F) {
	data, err := os.ReadFile("testdata/definition.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data), false)
	f.Add(`{"listen": {"path": "/a"}, "upstream": {"url": "http://a"}}`, true)
	f.Add("listen: {path: /a}\nupstream: {url: env:X}\n", false)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		file := "testdata/f.yaml"
		if isJSON {
			file = "testdata/f.json"
		}
		def, refused := config.Loader{LookupEnv: func(string) (string, bool) { return "http://x", true }}.Parse(file, []byte(text))
		if refused != nil {
			if !refused.Problems.Refused() {
				t.Fatal("refused without a reason")
			}
			return
		}
		if ps := def.Validate(); ps.Refused() {
			t.Fatalf("accepted and not valid: %v", ps)
		}
	})
}
