package rules

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func matches(patterns ...string) []config.PathMatch {
	var list []config.PathMatch
	for _, p := range patterns {
		methods, pattern, found := strings.Cut(p, " ")
		if !found || strings.HasPrefix(p, "/") {
			methods, pattern = "", p
		}
		pattern, ignoreCase := strings.CutPrefix(pattern, "(i)")
		m := config.PathMatch{Path: config.Pattern(pattern), IgnoreCase: ignoreCase}
		if methods != "" {
			m.Methods = strings.Split(methods, ",")
		}
		list = append(list, m)
	}
	return list
}

func mustPaths(t testing.TB, lists config.PathLists) *Paths {
	t.Helper()
	p, err := CompilePaths(lists)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPathsCheck(t *testing.T) {
	block := func(p ...string) config.PathLists { return config.PathLists{Block: matches(p...)} }
	allow := func(p ...string) config.PathLists { return config.PathLists{Allow: matches(p...)} }
	ignore := func(p ...string) config.PathLists { return config.PathLists{Ignored: matches(p...)} }
	tests := []struct {
		lists config.PathLists
		calls string // method, path and verdict, separated by commas
	}{
		{config.PathLists{}, "GET / allowed, GET /../x allowed"},
		{block("/admin"), "GET /admin forbidden, GET /admin/ forbidden, GET /admin/x allowed, GET /admins allowed, GET /Admin allowed, GET /x/admin allowed"},
		{block("/admin/"), "GET /admin forbidden, GET /admin/ forbidden"},
		{block("/"), "GET / forbidden, GET // forbidden, GET /a allowed, GET /. forbidden"},
		{block("/*"), "GET / forbidden, GET /a/b forbidden"},
		{block("/admin/*"), "GET /admin forbidden, GET /admin/ forbidden, GET /admin/x/y forbidden, GET /admin/x%20y forbidden, GET /adminx allowed"},
		{block("/u/{id}/keys"), "GET /u/7/keys forbidden, GET /u/7/x/keys allowed, GET /u/a%2Fb/keys forbidden, GET /u//keys allowed, GET /u/7/keys/ forbidden"},
		{block("/u/{id}/*"), "GET /u/7 forbidden, GET /u/7/x forbidden, GET /u allowed, GET /u/ allowed"},
		{block("/u/me", "/u/{id}/x"), "GET /u/me forbidden, GET /u/me/x forbidden, GET /u/you allowed"},
		{block("(i)/Admin"), "GET /aDMIN forbidden, GET /%41dmin forbidden"},
		{block("(i)/kelvin"), "GET /%E2%84%AAelvin forbidden, GET /KELVIN forbidden"},
		{block("~^/admin$"), "GET /admin forbidden, GET /admin/ forbidden, GET /admin// forbidden, GET /admin/x allowed"},
		{block("~secret"), "GET /a/secret/b forbidden, GET /a/s%65cret forbidden, GET /a/se/../secret forbidden"},
		{block("(i)~^/a$"), "GET /A forbidden"},
		{block("DELETE /x"), "DELETE /x forbidden, delete /x forbidden, GET /x allowed"},
		{block("/a b"), "GET /a%20b forbidden, GET /a+b allowed"},
		{block("/a%20b"), "GET /a%20b forbidden, GET /a%2520b forbidden"},
		{block("/a%2Fb"), "GET /a%2fb forbidden, GET /a/b forbidden"},
		{block("/admin"), "GET //admin forbidden, GET /./admin forbidden, GET /x/../admin forbidden, GET /%61dmin forbidden, GET /admin;x forbidden, GET /x/..;/admin forbidden"},
		{block("/admin"), `GET \admin forbidden, GET /x/..\admin forbidden, GET /x/..%5cadmin forbidden, GET /%2561dmin forbidden, GET /admin%2F forbidden, GET /admin%3Fx forbidden`},
		{block("/admin"), "GET /x%00 forbidden, GET /../x forbidden, GET /x/%2e%2e/%2e%2e/x forbidden, GET /%25252541 forbidden"},
		{block("/a/admin"), "GET /a//../admin forbidden, GET /b/../a/admin forbidden"},
		{allow("/pub/*"), "GET /pub allowed, GET /pub/a allowed, GET /x forbidden, GET /pub/../x forbidden, GET /pub/%2e%2e/x forbidden, GET /pub/..%2fx forbidden, GET /pub/..;/x forbidden, GET /pub/..%5Cx forbidden, GET /pub/%252e%252e/x forbidden"},
		{allow("/pub/*"), "GET /pub/a%20b allowed, GET /pub/./a allowed, GET /pub//a allowed, GET /pub/a;b allowed, GET /pub/%2541 allowed, GET /pub/a%0Ab forbidden"},
		{allow("/f/{name}"), "GET /f/a%2Fb forbidden, GET /f/a%20b allowed, GET /f/a%25 allowed, GET /f/a%3Bb allowed"},
		{allow("GET /a"), "GET /a allowed, POST /a forbidden, get /a forbidden"},
		{allow("~\\.css$"), "GET /a.css allowed, GET /admin;.css forbidden, GET /admin%3F.css forbidden, GET /admin%23.css forbidden"},
		{block("~^/$"), "GET  forbidden, GET / forbidden, GET /a allowed"},
		{allow("~^/$"), "GET  allowed, GET /a forbidden"},
		{allow("~^/a/$"), "GET /a/ allowed, GET /a forbidden"},
		{allow("/a", "/b"), "GET /a/../b forbidden, GET /b allowed"},
		{allow("/a"), "OPTIONS * forbidden"},
		{ignore("/pub/*"), "GET /pub/a ignored, GET /x allowed, GET /pub/../x allowed, GET /pub/..;/x allowed, GET /pub/..%2Fx allowed, GET /pub/%252e%252e/x allowed, GET /../pub/a allowed, GET /pub/%00 allowed"},
		{ignore("~\\.css$"), "GET /a.css ignored, GET /admin;.css allowed"},
		{config.PathLists{Ignored: matches("/h"), Allow: matches("/a")}, "GET /h ignored, GET /a allowed, GET /b forbidden, GET /%68 ignored"},
		{config.PathLists{Ignored: matches("/h/*"), Block: matches("/h/x")}, "GET /h/x forbidden, GET /h/y ignored"},
		{config.PathLists{Allow: matches("/h/*"), Block: matches("/h/x")}, "GET /h/x forbidden, GET /h/y allowed, GET /h/%78 forbidden"},
	}
	for _, test := range tests {
		p := mustPaths(t, test.lists)
		for call := range strings.SplitSeq(test.calls, ", ") {
			parts := strings.Split(call, " ")
			if got := p.Check(parts[0], parts[1]); got.String() != parts[2] {
				t.Errorf("%+v: %s: got %s", test.lists, call, got)
			}
		}
	}
}

func TestPathsBad(t *testing.T) {
	_, err := CompilePaths(config.PathLists{Block: matches("~(")})
	if err == nil || !strings.Contains(err.Error(), `paths.block: path "~("`) {
		t.Errorf("got %v", err)
	}
	if e := ErrForbidden(); e.Status != 403 || e.Message != "Requested endpoint is forbidden" {
		t.Errorf("got %v", e)
	}
}

// dress spells target in a way that decodes or cleans to it.
func dress(target string, r *rand.Rand) string {
	var b strings.Builder
	for _, segment := range strings.Split(target[1:], "/") {
		for range r.IntN(3) {
			b.WriteString([]string{"/.", "/", "/x/..", "/%2e", "/x/%2E.", `/x/..\.`, "/;", "/x/..;"}[r.IntN(8)])
		}
		b.WriteString([]string{"/", "/", "%2F", "%2f", `\`, "%5c", "%252f"}[r.IntN(7)])
		for i := range len(segment) {
			switch c := segment[i]; r.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "%%%02X", c)
			case 1:
				fmt.Fprintf(&b, "%%%02x", c)
			case 2:
				if r.IntN(8) == 0 {
					fmt.Fprintf(&b, "%%25%02x", c)
					continue
				}
				fallthrough
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString([]string{"", "", ";p=1", "%3bp"}[r.IntN(4)])
	}
	b.WriteString([]string{"", "/", "//", "/.", ";", "%2f"}[r.IntN(6)])
	return b.String()
}

// A blocked path is blocked however it is dressed, and a dressed one is never allowed in place of what it means.
func FuzzDressedPath(f *testing.F) {
	for i := range uint64(50) {
		f.Add(i)
	}
	targets := []string{"/admin", "/a/secret", "/a/b/c.d"}
	blocked := mustPaths(f, config.PathLists{Block: matches(targets...)})
	others := mustPaths(f, config.PathLists{Allow: matches("/x/*", "/", "~^/[x./;\\\\]*$"), Ignored: matches("/x/*", "~^/x")})
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		dressed := dress(targets[r.IntN(len(targets))], r)
		if got := blocked.Check("GET", dressed); got != Forbidden {
			t.Errorf("%q is %s by a block list", dressed, got)
		}
		if got := others.Check("GET", dressed); got != Forbidden {
			t.Errorf("%q is %s by an allow list", dressed, got)
		}
	})
}

// What a server of Go's own kind would serve is what the lists decide about.
func FuzzPathsOracle(f *testing.F) {
	for _, s := range []string{"/admin", "/pub/../admin", "/pub/%2e%2e/admin", "//admin/", "/pub/a", "/%70ub", "/pub/..%2Fadmin", "admin"} {
		f.Add(s)
	}
	block := mustPaths(f, config.PathLists{Block: matches("/admin/*")})
	allow := mustPaths(f, config.PathLists{Allow: matches("/pub/*")})
	ignored := mustPaths(f, config.PathLists{Ignored: matches("/pub/*")})
	f.Fuzz(func(t *testing.T, p string) {
		served, err := url.PathUnescape(p)
		if err != nil {
			return
		}
		served = path.Clean("/" + served)
		if served == "/admin" || strings.HasPrefix(served, "/admin/") {
			if got := block.Check("GET", p); got != Forbidden {
				t.Errorf("block: %q, served as %q, is %s", p, served, got)
			}
		}
		if served != "/pub" && !strings.HasPrefix(served, "/pub/") {
			if got := allow.Check("GET", p); got != Forbidden {
				t.Errorf("allow: %q, served as %q, is %s", p, served, got)
			}
			if got := ignored.Check("GET", p); got != Allowed {
				t.Errorf("ignored: %q, served as %q, is %s", p, served, got)
			}
		}
	})
}
