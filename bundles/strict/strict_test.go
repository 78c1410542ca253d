package strict_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

type document struct {
	Name  string            `json:"name"`
	List  []int             `json:"list,omitempty"`
	Blob  []byte            `json:"blob,omitempty"`
	Items map[string]string `json:"items,omitempty"`
}

func TestCanonical(t *testing.T) {
	const good = `{"name":"a<b","list":[1,2],"blob":"AQ=="}`
	var d document
	if err := strict.Canonical([]byte(good), &d); err != nil || d.Name != "a<b" || len(d.Blob) != 1 {
		t.Fatalf("%v %+v", err, d)
	}
	for name, bad := range map[string]string{
		"blank":             `{"name": "a"}`,
		"newline":           `{"name":"a"}` + "\n",
		"order":             `{"list":[1],"name":"a"}`,
		"twice":             `{"name":"a","name":"a"}`,
		"case":              `{"Name":"a"}`,
		"unknown":           `{"name":"a","x":1}`,
		"escape":            `{"name":"\u0061"}`,
		"lone surrogate":    `{"name":"\ud800"}`,
		"not UTF-8":         "{\"name\":\"\xff\"}",
		"behind":            `{"name":"a"}{}`,
		"empty list":        `{"name":"a","list":[]}`,
		"null":              `{"name":null}`,
		"missing":           `{}`,
		"base64 unpadded":   `{"name":"a","blob":"AQ"}`,
		"base64 loose bits": `{"name":"a","blob":"AR=="}`,
		"base64 newline":    `{"name":"a","blob":"AQ==\n"}`,
		"number":            `{"name":"a","list":[1e0]}`,
		"cut":               `{"name":"a"`,
		"nothing":           ``,
		"deep":              strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		if err := strict.Canonical([]byte(bad), new(document)); err == nil {
			t.Errorf("%s: accepted %s", name, bad)
		}
	}
}

func TestDecode(t *testing.T) {
	if err := strict.Decode([]byte(" {\n\"name\" : \"a\" }\n"), new(document)); err != nil {
		t.Error(err)
	}
	if err := strict.DecodeOpen([]byte(`{"name":"a","other":{"x":[null,true]}}`), new(document)); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"unknown":      `{"name":"a","x":1}`,
		"twice":        `{"name":"a","name":"b"}`,
		"twice, case":  `{"name":"a","NAME":"b"}`,
		"twice, inner": `{"items":{"a":"1","a":"2"}}`,
		"kelvin":       `{"items":{"k":"1","K":"2"}}`,
		"long s":       `{"items":{"s":"1","ſ":"2"}}`,
		"behind":       `{"name":"a"} x`,
		"long":         `{"name":"` + strings.Repeat("a", strict.MaxString+1) + `"}`,
		"long list":    `{"name":"a","list":[` + strings.Repeat("1,", strict.MaxList) + `1]}`,
		"syntax":       `{"name":"a",}`,
	} {
		if err := strict.Decode([]byte(bad), new(document)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := strict.DecodeOpen([]byte(`{"a":1,"A":2}`), new(document)); err == nil {
		t.Error("open: accepted two members that differ in case")
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"name":"a","list":[1],"items":{"k":"v"}}`))
	f.Add([]byte(`{"name":"\u003c","name":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d document
		if strict.Canonical(data, &d) != nil {
			return
		}
		again, err := strict.Encode(d)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}
