package correlation

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

func plugin(t testing.TB, config string) *sdk.Plugin {
	t.Helper()
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(client string) *sdktest.Builder {
	return sdktest.Request("GET", "/").Client(netip.AddrPortFrom(netip.MustParseAddr(client), 1))
}

func TestIncoming(t *testing.T) {
	const here = "192.0.2.1"
	for _, tt := range []struct {
		name, config, client, incoming string
		taken                          bool
	}{
		{"nobody is believed by default", `{}`, here, "abc", false},
		{"all are", `{"trust": "all"}`, here, "abc", true},
		{"blanks about it", `{"trust": "all"}`, here, " abc ", true},
		{"listed", `{"trust": "listed", "trusted": ["192.0.2.0/24", "2001:db8::1"]}`, here, "abc", true},
		{"mapped", `{"trust": "listed", "trusted": ["192.0.2.1"]}`, "::ffff:192.0.2.1", "abc", true},
		{"not listed", `{"trust": "listed", "trusted": ["192.0.2.0/24"]}`, "198.51.100.1", "abc", false},
		{"none came", `{"trust": "all"}`, here, "", false},
		{"no id", `{"trust": "all"}`, here, "a b", false},
		{"too long", `{"trust": "all"}`, here, strings.Repeat("x", 129), false},
		{"for logs to choke on", `{"trust": "all"}`, here, `a","status":200`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := request(tt.client)
			if tt.incoming != "" {
				b.Header("x-request-id", tt.incoming)
			}
			r := b.Run(t, plugin(t, tt.config), sdk.Pre, "Correlate")
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			id := r.RequestHeader("X-Request-ID")
			if taken := id == strings.TrimSpace(tt.incoming); taken != tt.taken {
				t.Errorf("got %q", id)
			}
			if !tt.taken {
				if u, err := uuid.Parse(id); err != nil || u.Version() != 7 {
					t.Errorf("%q is no UUID version 7: %v", id, err)
				}
			}
			if want := `{"id":"` + id + `","reply":"X-Request-ID"}`; r.After.Values[sdk.CorrelationValue] != want {
				t.Errorf("left %s, want %s", r.After.Values[sdk.CorrelationValue], want)
			}
			if got := r.RequestHeader("Baggage"); got != "request-id="+id {
				t.Errorf("baggage %q", got)
			}
		})
	}
}

func TestSwitches(t *testing.T) {
	r := request("192.0.2.1").Header("X-Id", "abc").Header("Baggage", "a=b").
		Run(t, plugin(t, `{"header": "X-Id", "format": "ulid", "upstream": false, "response": false, "baggage": false}`), sdk.Pre, "Correlate")
	if r.Err != nil || r.RequestHeader("X-Id") != "" || r.RequestHeader("Baggage") != "a=b" {
		t.Errorf("%v, header %q, baggage %q", r.Err, r.RequestHeader("X-Id"), r.RequestHeader("Baggage"))
	}
	var c sdk.Correlation
	if err := json.Unmarshal([]byte(r.After.Values[sdk.CorrelationValue]), &c); err != nil || c.Reply != "" {
		t.Fatalf("%v, %+v", err, c)
	}
	if _, err := ulid.ParseStrict(c.ID); err != nil {
		t.Errorf("%q: %v", c.ID, err)
	}
}

// What others put into the baggage stays, as far as it has to be handed on; what they say of the id does not.
func TestBaggage(t *testing.T) {
	long := "long=" + strings.Repeat("x", 8192)
	r := request("192.0.2.1").Header("X-Request-ID", "abc").Header("Baggage", "a=b;p=1, request-id=forged").Header("baggage", long+",, c=d").
		Run(t, plugin(t, `{"trust": "all"}`), sdk.Pre, "Correlate")
	if got := r.RequestHeader("Baggage"); got != "request-id=abc,a=b;p=1,c=d" {
		t.Errorf("got %.200s", got)
	}
}

// Ids that are made one after the other are different, and sort by when they were made.
func TestOrder(t *testing.T) {
	for _, format := range []string{"uuidv7", "ulid"} {
		c, err := compile(json.RawMessage(`{"format": "` + format + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]string, 10_000)
		for i := range ids {
			ids[i] = c.create()
		}
		first, last := ids[0][:8], ids[len(ids)-1][:8]
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 10_000 || first > last {
			t.Errorf("%s: twice the same, or %s before %s", format, first, last)
		}
	}
}

func TestSettings(t *testing.T) {
	for config, want := range map[string]string{
		`{"heder": "a"}`:                           "heder",
		`{"header": "a b"}`:                        "header",
		`{"format": "v4"}`:                         "format",
		`{"trust": "some"}`:                        "trust",
		`{"trust": "listed"}`:                      "trusted",
		`{"trusted": ["192.0.2.1"]}`:               "trusted",
		`{"trust": "listed", "trusted": ["host"]}`: `"host"`,
	} {
		if err := Check(json.RawMessage(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", config, err)
		}
	}
}

// The plugin does the same in a process of its own.
func TestWire(t *testing.T) {
	sdktest.CheckWire(t, plugin(t, `{"trust": "all"}`), request("192.0.2.1").Header("X-Request-ID", "abc").Header("Baggage", "a=b"))
}

func BenchmarkCorrelate(b *testing.B) {
	for _, format := range []string{"uuidv7", "ulid"} {
		b.Run(format, func(b *testing.B) {
			p := plugin(b, `{"format": "`+format+`"}`)
			b.ReportAllocs()
			x := request("192.0.2.1").Exchange(sdk.Pre, p.Hooks[0].Needs, nil)
			for b.Loop() {
				if err := p.Hooks[0].Hook.Handle(b.Context(), x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
