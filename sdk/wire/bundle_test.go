package wire

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TestBundle: a route without a bundle has none natively, and in Tyk's protocol the hash of no name, as Tyk sends it.
func TestBundle(t *testing.T) {
	for route, want := range map[string]string{
		"": "d41d8cd98f00b204e9800998ecf8427e", "92eb5ffee6ae2fec3ad71c777531578f": "92eb5ffee6ae2fec3ad71c777531578f",
	} {
		x := &sdk.Exchange{}
		x.Reset(sdk.Init{Route: &sdk.Route{ID: "r", Bundle: route}})
		x.Request().Fill(sdk.RequestInit{Method: "GET", Path: "/", URI: "/"})
		x.Begin(sdk.Pre, nil, false)
		b := AppendObject(nil, x, "h", ObjectOptions{})
		var o tykpb.Object
		if err := proto.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		if got := o.Spec["bundle_hash"]; got != want {
			t.Errorf("sent bundle_hash %q, want %q", got, want)
		}
		var y sdk.Exchange
		if _, _, err := DecodeObject(b, &y, nil); err != nil || y.Route().Bundle != route {
			t.Errorf("got bundle %q, %v, want %q", y.Route().Bundle, err, route)
		}
		binding := AppendBinding(nil, &Binding{ID: 1, Route: x.Route()})
		f, err := ScanHostFrame(binding)
		if err != nil {
			t.Fatal(err)
		}
		for raw := range f.Bindings() {
			v, err := DecodeBinding(raw)
			if err != nil || v.Route.Bundle != route {
				t.Errorf("native: got bundle %q, %v, want %q", v.Route.Bundle, err, route)
			}
		}
		if route == "" && bytes.Contains(binding, []byte{5<<3 | 2}) {
			t.Errorf("native: sent an empty bundle: %x", binding)
		}
	}
}
