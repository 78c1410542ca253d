package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func lines(fields []sdk.Field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name+": "+f.Value)
	}
	return out
}

// A record has the headers that its observer asked for: of the request as the client sent it, of the reply as it was
// sent, without the credentials of the gateway's own methods.
func TestRecordsHeaders(t *testing.T) {
	const auth = "auth: {any: [{token: {header: X-Shop-Card}}, {name: second, token: {cookie: card, header: ''}}]}\n"
	hooks := map[string]sdk.Hook{
		"meddle": fn(func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-Shop-A", "meddled")
			x.Request().Header().Del("X-Shop-B")
			return nil
		}),
		"sign": fn(func(x *sdk.Exchange) error {
			x.Response().Header().Set("X-Signed", "yes")
			return nil
		}),
	}
	for _, test := range []struct {
		name, asks      string
		request, answer []string
	}{
		{"nothing", "{observer: o}", nil, nil},
		{"by name", "{observer: o, headers: [x-shop-a], response_headers: [x-signed]}", []string{"X-Shop-A: one", "X-Shop-A: two"}, []string{"X-Signed: yes"}},
		{"by beginning", "{observer: o, headers: [X-Shop-*]}", []string{"X-Shop-A: one", "X-Shop-A: two", "X-Shop-B: b", "X-Shop-Card: hidden"}, nil},
		{"none that came", "{observer: o, headers: [X-Sho], response_headers: [X-Signed-*]}", nil, nil},
		{"all", "{observer: o, headers: all}", []string{"X-Shop-A: one", "X-Shop-A: two", "X-Shop-B: b", "X-Shop-Card: hidden", "Cookie: hidden"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKeyed(t, hooks, nil)
			token := k.key(t, "", &identity.Session{})
			k.load(t, ownAPI+auth+"hooks: {pre: [{hook: meddle}], response: [{hook: sign}]}\nobservers: ["+test.asks+"]\n")
			if _, got := k.ask(t, "/a/", "X-Shop-A: one", "X-Shop-A: two", "X-Shop-B: b", "X-Shop-Card: "+token, "Cookie: card=1"); !strings.HasPrefix(got, "200 ") {
				t.Fatal(got)
			}
			if err := k.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			var records []sdk.Record
			for _, b := range k.w.batches {
				records = append(records, b.Records...)
			}
			if len(records) != 1 {
				t.Fatalf("%d records", len(records))
			}
			if d := cmp.Diff(test.request, lines(records[0].Header)); d != "" {
				t.Errorf("of the request:\n%s", d)
			}
			if d := cmp.Diff(test.answer, lines(records[0].ReplyHeader)); d != "" {
				t.Errorf("of the reply:\n%s", d)
			}
			if records[0].HeaderCut {
				t.Error("they are said to be cut")
			}
		})
	}
}

// Whatever a client sends, a record holds so much of it.
func TestRecordsHeadersBounded(t *testing.T) {
	size := func(fields []sdk.Field) (n int) {
		for _, f := range fields {
			n += len(f.Name) + len(f.Value)
		}
		return n
	}
	long := strings.Repeat("ä", 3000)
	many := make([]sdk.Field, 500)
	for i := range many {
		many[i] = sdk.Field{Name: fmt.Sprint("X-", i), Value: "v"}
	}
	for _, test := range []struct {
		name   string
		fields []sdk.Field
		want   int // lines
		cut    bool
	}{
		{"few", many[:3], 3, false},
		{"as many as may be", many[:mostFields], mostFields, false},
		{"too many", many, mostFields, true},
		{"too long", []sdk.Field{{Name: "X", Value: long}}, 1, true},
		{"too much", slices.Repeat([]sdk.Field{{Name: "XY", Value: long}}, 20), 7, true},
		{"name", []sdk.Field{{Name: strings.Repeat("X", mostHeader), Value: "v"}}, 0, true},
	} {
		s := selection{names: []string{"*"}}
		got := s.of(test.fields)
		if len(got) != test.want || s.cut != test.cut || size(got) > mostHeader {
			t.Errorf("%s: %d lines of %d bytes, cut %v", test.name, len(got), size(got), s.cut)
		}
		for _, f := range got {
			if len(f.Value) > mostValue || strings.ContainsRune(f.Value, '\uFFFD') || test.name == "too long" && !strings.HasSuffix(f.Value, "ä…") {
				t.Errorf("%s: a value of %d bytes that ends in %q", test.name, len(f.Value), f.Value[len(f.Value)-6:])
			}
		}
	}
}
