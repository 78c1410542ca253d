package correlation

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
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
			check := func(t *testing.T, p *sdk.Plugin) {
				b := request(tt.client)
				if tt.incoming != "" {
					b.Header("x-request-id", tt.incoming)
				}
				r := b.Run(t, p, sdk.Pre, "Correlate")
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
			}
			t.Run("here", func(t *testing.T) { check(t, plugin(t, tt.config)) })
			t.Run("there", func(t *testing.T) { check(t, remotetest.Serve(t, plugin(t, tt.config))) })
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
			ids[i] = strings.TrimPrefix(c.create(), "request-id=")
		}
		first, last := ids[0][:8], ids[len(ids)-1][:8]
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 10_000 || first > last {
			t.Errorf("%s: twice the same, or %s before %s", format, first, last)
		}
	}
}

// The time in an id is when it was made, whoever reads it; a UUID has it to a quarter of a microsecond, and every bit
// that is chance is set now and then, and is not now and then.
func TestForm(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123).Add(999_999 * time.Nanosecond)
	var set, clear [16]byte
	for range 200 {
		u, err := uuid.ParseBytes(appendUUID(nil, at))
		if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
			t.Fatalf("%v: %v, version %d", u, err, u.Version())
		}
		if s, ns := u.Time().UnixTime(); time.Unix(s, ns).UnixMilli() != at.UnixMilli() || u[6] != 0x7f || u[7] != 0xff {
			t.Fatalf("%v is of %v", u, time.Unix(s, ns))
		}
		for i := range u {
			set[i] |= u[i]
			clear[i] |= ^u[i]
		}
		l, err := ulid.ParseStrict(string(appendULID(nil, at)))
		if err != nil || l.Time() != ulid.Timestamp(at) {
			t.Fatalf("%v: %v", l, err)
		}
	}
	if a := string(appendUUID(nil, at.Add(-time.Microsecond))); a >= string(appendUUID(nil, at)) {
		t.Error("a microsecond earlier does not sort before")
	}
	for i := 9; i < 16; i++ {
		if set[i]&clear[i] != 0xff {
			t.Errorf("byte %d: %08b", i, set[i]&clear[i])
		}
	}
	if set[8]&clear[8] != 0x3f {
		t.Errorf("byte 8: %08b", set[8]&clear[8])
	}
}

func TestSettings(t *testing.T) {
	for config, want := range map[string]string{
		`{"heder": "a"}`:                           "heder",
		`{"header": "a b"}`:                        "header",
		`{"header": "content-Length"}`:             "header",
		`{"header": "Host"}`:                       "header",
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

// What the hook allocates is the id, and nothing else that lasts.
func TestAllocations(t *testing.T) {
	for _, format := range []string{"uuidv7", "ulid"} {
		handle := handler(t, format)
		if n := testing.AllocsPerRun(100, handle); n > 1 {
			t.Errorf("%s: %v allocations", format, n)
		}
	}
}

// handler calls the hook for one request after the other.
func handler(t testing.TB, format string) func() {
	p := plugin(t, `{"format": "`+format+`"}`)
	x := request("192.0.2.1").Exchange(sdk.Pre, p.Hooks[0].Needs, nil)
	return func() {
		x.Request().Header().Reset()
		x.Begin(sdk.Pre, nil, false)
		if err := p.Hooks[0].Hook.Handle(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkCorrelate(b *testing.B) {
	for _, format := range []string{"uuidv7", "ulid"} {
		b.Run(format, func(b *testing.B) {
			handle := handler(b, format)
			b.ReportAllocs()
			for b.Loop() {
				handle()
			}
		})
	}
}

// Whatever a client sends in the headers that are read, the request goes on with a good id, in one line, and nothing else of
// the client's gets into the entry.
func FuzzIncoming(f *testing.F) {
	f.Add("good-1", "other", "a=b,request-id=evil")
	f.Add("a\tb", "\xff", "request-id = x ;p=1,, \x80=\x81,\t")
	f.Add(strings.Repeat("x", 129), "", strings.Repeat("a=b,", 5000))
	f.Add("a,b", "%0d%0aX: y", "=,=request-id=")
	f.Fuzz(func(t *testing.T, first, second, bag string) {
		for _, v := range []string{first, second, bag} {
			if !sdk.ValidFieldValue(v) {
				return // no front lets it in
			}
		}
		for _, config := range []string{`{"trust": "all"}`, `{}`} {
			r := sdktest.Request("GET", "/").Header("X-Request-ID", first).Header("x-request-id", second).Header("Baggage", bag).Run(t, plugin(t, config), sdk.Pre, "Correlate")
			if r.Err != nil {
				t.Fatalf("%q %q %q: %v", first, second, bag, r.Err)
			}
			values := func(name string) (all []string) {
				for _, field := range r.After.Request.Header {
					if sdk.EqualFold(field.Name, name) {
						all = append(all, field.Value)
					}
				}
				return all
			}
			ids := values("X-Request-ID")
			if len(ids) != 1 || !sdk.ValidRequestID(ids[0]) || ids[0] == strings.TrimSpace(first) && config == `{}` && ids[0] != "" {
				t.Errorf("%s: %q %q gives %q", config, first, second, ids)
			}
			lines := values("Baggage")
			if len(lines) != 1 || len(lines[0]) > maxBaggage || !strings.HasPrefix(lines[0], "request-id="+ids[0]) || strings.Count(strings.ReplaceAll(lines[0], " ", ""), ",request-id=") > 0 {
				t.Errorf("%s: %q gives %q", config, bag, lines)
			}
		}
	})
}
