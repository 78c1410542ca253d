package bots

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	google = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
	seo    = "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)"
)

func request(agent, client string) *sdktest.Builder {
	b := sdktest.Request("GET", "/").Client(netip.AddrPortFrom(netip.MustParseAddr(client), 1234))
	if agent != "" {
		b.Header("User-Agent", agent)
	}
	return b
}

func plugin(t testing.TB, config string) *sdk.Plugin {
	t.Helper()
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Close != nil {
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return p
}

func TestDetect(t *testing.T) {
	z := newZone(t, func(z *zone) {
		z.ptr["1.2.0.192.in-addr.arpa."] = []string{"crawl-1.googlebot.com."}
		z.a["crawl-1.googlebot.com."] = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		z.fail["3.2.0.192.in-addr.arpa."] = true
	})
	verified := fmt.Sprintf(`"verify": {"enabled": true, "wait": "20s", "timeout": "20s", "resolver": %q}`, z.address())
	const here, elsewhere, unknown = "192.0.2.1", "192.0.2.2", "192.0.2.3"
	for _, tt := range []struct {
		name, config, agent, client string
		refused                     string
		tags                        string
		value                       string
		counts                      string
	}{
		{"a browser", `{}`, browser, here, "", "", "", ""},
		{"a browser, where crawlers are denied", `{"action": "deny"}`, browser, here, "", "", "", ""},
		{"a crawler", `{}`, google, here, "", "bot bot:search-engine", `{"crawler":"Googlebot","categories":["search-engine"],"action":"tag"}`, "tagged"},
		{"denied", `{"action": "deny"}`, google, here, "403 Forbidden", "bot bot:search-engine", `{"crawler":"Googlebot","categories":["search-engine"],"action":"deny"}`, "denied"},
		{"denied in other words", `{"action": "deny", "status": 429, "message": "no bots"}`, seo, here, "429 no bots", "bot bot:seo", `{"crawler":"AhrefsBot","categories":["seo"],"action":"deny"}`, "denied"},
		{"only watched", `{"action": "deny", "monitor": true}`, seo, here, "", "bot bot:seo bot:would-deny", `{"crawler":"AhrefsBot","categories":["seo"],"action":"deny","monitor":true}`, "would_deny"},
		{"a category denied", `{"deny": {"categories": ["seo"]}}`, seo, here, "403 Forbidden", "bot bot:seo", `{"crawler":"AhrefsBot","categories":["seo"],"action":"deny"}`, "denied"},
		{"another category denied", `{"deny": {"categories": ["seo"]}}`, google, here, "", "bot bot:search-engine", `{"crawler":"Googlebot","categories":["search-engine"],"action":"tag"}`, "tagged"},
		{"a category allowed", `{"action": "deny", "allow": {"categories": ["search-engine"]}}`, google, here, "", "bot bot:search-engine", `{"crawler":"Googlebot","categories":["search-engine"],"action":"allow"}`, "allowed"},
		{"an agent of the operator's", `{"deny": {"user_agents": ["^Mozilla/5\\.0 \\(Windows"]}}`, browser, here, "403 Forbidden", "", `{"action":"deny"}`, "denied"},
		{"an agent allowed", `{"action": "deny", "allow": {"user_agents": ["AhrefsBot"]}}`, seo, here, "", "bot bot:seo", `{"crawler":"AhrefsBot","categories":["seo"],"action":"allow"}`, "allowed"},
		{"an address denied", `{"deny": {"addresses": ["198.51.100.7", "192.0.2.0/24", "2001:db8::/32"]}}`, browser, here, "403 Forbidden", "", `{"action":"deny"}`, "denied"},
		{"of both kinds", `{"deny": {"addresses": ["2001:db8::/32"]}}`, browser, "2001:db8::7", "403 Forbidden", "", `{"action":"deny"}`, "denied"},
		{"an address mapped", `{"deny": {"addresses": ["192.0.2.0/24"]}}`, browser, "::ffff:192.0.2.9", "403 Forbidden", "", `{"action":"deny"}`, "denied"},
		{"another address", `{"deny": {"addresses": ["192.0.2.1"]}}`, browser, elsewhere, "", "", "", ""},
		{"allow goes first", `{"allow": {"addresses": ["192.0.2.1"]}, "deny": {"user_agents": ["."]}}`, browser, here, "", "", "", ""},
		{"no agent", `{}`, "", here, "", "bot:nameless", `{"action":"tag"}`, "tagged"},
		{"a blank agent", `{"empty": "deny"}`, " ", here, "403 Forbidden", "bot:nameless", `{"action":"deny"}`, "denied"},
		{"verified", `{"allow": {"categories": ["search-engine"]}, ` + verified + `}`, google, here, "", "bot bot:search-engine bot:verified", `{"crawler":"Googlebot","categories":["search-engine"],"verified":"yes","action":"allow"}`, "allowed"},
		{"an impostor", `{"allow": {"categories": ["search-engine"]}, ` + verified + `}`, google, elsewhere, "403 Forbidden", "bot bot:search-engine bot:impostor", `{"crawler":"Googlebot","categories":["search-engine"],"verified":"no","action":"deny"}`, "denied impostors"},
		{"nobody knows", `{` + verified + `}`, google, unknown, "", "bot bot:search-engine bot:unverified", `{"crawler":"Googlebot","categories":["search-engine"],"verified":"unknown","action":"tag"}`, "tagged"},
		{"of no known owner", `{` + verified + `}`, seo, elsewhere, "", "bot bot:seo", `{"crawler":"AhrefsBot","categories":["seo"],"action":"tag"}`, "tagged"},
		{"of an owner the operator knows", `{` + strings.TrimSuffix(verified, "}") + `, "domains": {"AhrefsBot": ["googlebot.com"]}}}`, seo, here, "", "bot bot:seo bot:verified", `{"crawler":"AhrefsBot","categories":["seo"],"verified":"yes","action":"tag"}`, "tagged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for where, p := range map[string]*sdk.Plugin{"here": plugin(t, tt.config), "there": remotetest.Serve(t, plugin(t, tt.config))} {
				r := request(tt.agent, tt.client).Run(t, p, sdk.Pre, "Detect")
				refused := ""
				if e := (*sdk.Error)(nil); errors.As(r.Err, &e) {
					refused = fmt.Sprint(e.Status, " ", e.Message)
				} else if r.Err != nil {
					t.Fatal(r.Err)
				}
				if refused != tt.refused {
					t.Errorf("%s: refused %q, want %q", where, refused, tt.refused)
				}
				var tags []string
				if v := r.After.Values[sdk.TagsValue]; v != "" {
					if err := json.Unmarshal([]byte(v), &tags); err != nil {
						t.Fatal(err)
					}
				}
				wantTags, wantValue := tt.tags, tt.value
				if where == "there" && refused != "" {
					wantTags, wantValue = "", "" // of what a server refuses, the counters alone travel (PROTOCOL.md 1.6)
				}
				if got := strings.Join(tags, " "); got != wantTags {
					t.Errorf("%s: tags %q, want %q", where, got, wantTags)
				}
				if diff := cmp.Diff(wantValue, r.After.Values["bot"]); diff != "" {
					t.Error(diff)
				}
				if got := strings.Join(slices.Sorted(maps.Keys(r.Counters)), " "); got != tt.counts {
					t.Errorf("%s: counted %q, want %q", where, got, tt.counts)
				}
			}
		})
	}
}

// The upstream learns the tags from the header that the settings name, and nobody else says them there.
func TestHeader(t *testing.T) {
	p := plugin(t, `{"header": "X-Bot"}`)
	r := request(google, "192.0.2.1").Header("X-Bot", "forged").Run(t, p, sdk.Pre, "Detect")
	if got := r.RequestHeader("X-Bot"); got != "bot,bot:search-engine" {
		t.Errorf("a crawler: %q", got)
	}
	r = request(browser, "192.0.2.1").Header("X-Bot", "forged").Run(t, p, sdk.Pre, "Detect")
	if got := r.RequestHeader("X-Bot"); got != "" {
		t.Errorf("a browser: %q", got)
	}
}

// A second line of User-Agent hides nothing.
func TestTwoAgents(t *testing.T) {
	r := request(browser, "192.0.2.1").Header("user-agent", google).Run(t, plugin(t, `{"action": "deny"}`), sdk.Pre, "Detect")
	if r.Err == nil {
		t.Error("it passed")
	}
}

// However many lines of it a client sends, what they cost grows as they do.
func TestManyAgents(t *testing.T) {
	var h sdk.Header
	for range 1000 {
		h.Append("User-Agent", browser)
	}
	if n := testing.AllocsPerRun(10, func() { _ = agentOf(&h) }); n > 20 {
		t.Errorf("%v allocations for a thousand lines", n)
	}
}

func TestSettings(t *testing.T) {
	for config, want := range map[string]string{
		`{"acton": "deny"}`:                               `unknown field "acton"`,
		`{"action": "allow"}`:                             `action: "allow": one of tag, deny`,
		`{"empty": "x"}`:                                  "empty",
		`{"status": 200}`:                                 "status: 200",
		`{"header": "a b"}`:                               "header",
		`{"allow": {"categories": ["serch"]}}`:            "search-engine",
		`{"deny": {"user_agents": ["("]}}`:                "deny.user_agents",
		`{"deny": {"addresses": ["host"]}}`:               "deny.addresses",
		`{"deny": {"addresses": ["fe80::1%eth0"]}}`:       "deny.addresses",
		`{"verify": {"resolver": "dns"}}`:                 "verify.resolver",
		`{"verify": {"wait": "1"}}`:                       "duration",
		`{"verify": {"impostors": "allow"}}`:              "verify.impostors",
		`{"verify": {"size": -1}}`:                        "size",
		`{"verify": {"domains": {"NoSuchBot": ["a.b"]}}}`: "NoSuchBot",
		`{"verify": {"domains": {"bingbot": [".b"]}}}`:    "domain",
		`{} {}`: "behind",
	} {
		if err := Check(json.RawMessage(config)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "bots: ") {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
	if err := Check(nil); err != nil {
		t.Error(err)
	}
}

// The plugin does the same in a process of its own.
func TestWire(t *testing.T) {
	sdktest.CheckWire(t, plugin(t, `{"header": "X-Bot", "deny": {"categories": ["seo"]}}`),
		request(google, "192.0.2.1").Header("X-Bot", "forged"), request(seo, "192.0.2.1"), request(browser, "192.0.2.1"), request("", "192.0.2.1"))
}

func BenchmarkDetect(b *testing.B) {
	p, err := New(b.Context(), json.RawMessage(`{"deny": {"categories": ["seo"], "addresses": ["10.0.0.0/8"], "user_agents": ["BadBot"]}}`), sdk.Host{})
	if err != nil {
		b.Fatal(err)
	}
	for name, agent := range map[string]string{"browser": browser, "crawler": google} {
		b.Run(name, func(b *testing.B) {
			x := request(agent, "192.0.2.1").Exchange(sdk.Pre, p.Hooks[0].Needs, nil)
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Hooks[0].Hook.Handle(b.Context(), x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
