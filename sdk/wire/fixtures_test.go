package wire

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// everything is what a hook needs that needs all.
const everything = sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody | sdk.NeedPeer

func testRoute() *sdk.Route {
	return &sdk.Route{ID: "api1", Name: "One", Org: "org1", ListenPath: "/one/", Bundle: "d41d", Config: []byte(`{"a":1}`)}
}

// typical is an exchange such as most calls carry.
func typical(phase sdk.Phase) *sdk.Exchange {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{
		Route: testRoute(), Client: netip.MustParseAddrPort("192.0.2.7:4711"), RequestID: "01J9Z",
		Trace: sdk.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"},
	})
	x.Request().Fill(sdk.RequestInit{
		Method: "POST", Scheme: "https", Host: "api.example.com", Path: "/one/v1/things", Query: "page=2&q=a%20b",
		URI: "/one/v1/things?page=2&q=a%20b", Proto: "HTTP/1.1", Length: 16,
	})
	h := x.Request().Header()
	h.Append("Accept", "application/json")
	h.Append("Authorization", "Bearer abcdefghijklmnop")
	h.Append("Content-Type", "application/json")
	h.Append("User-Agent", "curl/8.5.0")
	h.Append("Accept-Encoding", "gzip, br")
	h.Append("X-Forwarded-For", "198.51.100.1")
	x.Request().LoadBody([]byte(`{"name":"thing"}`))
	if phase > sdk.Auth {
		x.BeginSession(&sdk.Session{KeyID: "key1", Alias: "alice", OrgID: "org1", Metadata: map[string]string{"tier": "gold"}})
		x.BeginValue("claims", []byte(`{"sub":"alice"}`))
	}
	if phase == sdk.ResponsePhase {
		x.Response().Fill(200, -1)
		x.Response().Header().Append("Content-Type", "text/plain")
		x.Response().Header().Append("Set-Cookie", "a=1")
		x.Response().Header().Append("Set-Cookie", "b=2")
		x.Response().LoadBody([]byte("hello"))
	}
	x.Begin(phase, nil, false)
	return x
}

// fullSession has every field set.
func fullSession() *sdk.Session {
	return &sdk.Session{
		KeyID: "key", Alias: "al", OrgID: "org", LastCheck: -1, Allowance: 1.5, Rate: 2, Per: 3, Expires: 4, QuotaMax: 5,
		QuotaRenews: 6, QuotaRemaining: 7, QuotaRenewalRate: 8,
		AccessRights: map[string]sdk.AccessDefinition{
			"api1": {APIName: "One", APIID: "api1", Versions: []string{"Default", ""}, AllowedURLs: []sdk.AccessSpec{{URL: "/a", Methods: []string{"GET", "PUT"}}, {URL: "/b"}}},
			"":     {},
		},
		OAuthClientID: "oc", OAuthKeys: map[string]string{"k": "v", "": ""}, BasicAuth: &sdk.BasicAuth{Password: "p", Hash: "bcrypt"},
		JWTSecret: "js", HMACEnabled: true, HMACSecret: "hs", Inactive: true, ApplyPolicyID: "p0", ApplyPolicies: []string{"p1", "p2"},
		DataExpires: 9, TriggerLimits: []float64{0.5, 90}, DetailedRecording: true, Metadata: map[string]string{"m": "1", "n": ""},
		Tags: []string{"t1", ""}, LastUpdated: "now", IDExtractorDeadline: 10, Lifetime: 11, Certificate: "cert", MaxQueryDepth: -1,
		PostExpiryAction: "delete", PostExpiryGrace: 12,
	}
}

func sameExchange(t *testing.T, what string, got, want sdk.Snapshot) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("%s: -want +got\n%s", what, d)
	}
}

var names = [...]string{"X-A", "x-b", "X-a", "X-Long-Name-Indeed", "Cookie", "Accept", "Set-Cookie"}

// seeds is how many random cases to run: ten times n in a soak, else a fifth of it.
func seeds(n uint64) uint64 {
	if os.Getenv("TURNBUCKLE_SOAK") != "" {
		return n * 10
	}
	return n / 5
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

func text(r *rand.Rand) string {
	return pick(r, "", "1", "value", "a, b", "käse", "long "+fmt.Sprint(r.Uint64()), "tab\there")
}

func body(r *rand.Rand) []byte {
	switch r.IntN(4) {
	case 0:
		return nil
	case 1:
		return []byte{0xff, 0, 0xfe}
	case 2:
		return make([]byte, 100+r.IntN(300))
	}
	return []byte(`{"json":"ü"}`)
}

// random is an exchange like those of a request in that phase; the same seed gives the same one again.
func random(seed uint64, phase sdk.Phase) *sdk.Exchange {
	r := rand.New(rand.NewPCG(seed, 1))
	x := &sdk.Exchange{}
	init := sdk.Init{Route: testRoute(), RequestID: text(r)}
	if r.IntN(2) == 0 {
		init.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(256))}), uint16(r.IntN(65536)))
		init.Trace = sdk.Trace{Parent: "00-1-2-01", State: text(r)}
	}
	x.Reset(init)
	path, query := pick(r, "/", "/one/a", "/one/%2F//b", "/ü"), pick(r, "", "a=1", "a=1&b=2&a=3", "%zz&=&x", "b=%20+;&a")
	uri := path
	if query != "" {
		uri += "?" + query
	}
	if r.IntN(4) == 0 {
		uri = "/one/other?x"
	}
	x.Request().Fill(sdk.RequestInit{
		Method: pick(r, "GET", "POST", "PURGE"), Scheme: pick(r, "http", "https"), Host: pick(r, "h", "h:8080", ""),
		Path: path, Query: query, URI: uri, Proto: pick(r, "HTTP/1.1", "HTTP/2.0"), Length: int64(r.IntN(3) - 1),
	})
	for range r.IntN(8) {
		x.Request().Header().Append(names[r.IntN(len(names))], text(r))
	}
	if r.IntN(2) == 0 {
		x.Request().LoadBody(body(r))
	}
	if r.IntN(2) == 0 {
		x.BeginSession(fullSession())
	}
	for i := range r.IntN(3) {
		x.BeginValue(fmt.Sprint("v", i), []byte(text(r)))
	}
	if phase == sdk.ResponsePhase {
		x.Response().Fill(200+r.IntN(400), int64(r.IntN(3)-1))
		for range r.IntN(8) {
			x.Response().Header().Append(names[r.IntN(len(names))], text(r))
		}
		if r.IntN(2) == 0 {
			x.Response().LoadBody(body(r))
		}
	}
	return x
}
