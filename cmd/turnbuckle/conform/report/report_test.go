package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Report {
	r := &Report{Target: "x", Protocols: []string{Native}}
	r.Add(Finding{ID: "a/fails", Protocol: Native, Section: "1.2", Title: "t", Result: Fail, Details: []string{"got\nlines \xff"}, MS: 1500})
	r.Add(Finding{ID: "a/passes", Protocol: Both, Section: "1.2", Title: "t", Result: Pass})
	r.Add(Finding{ID: "a/warns", Protocol: Both, Section: "1.2", Title: "t", Result: Warn, Details: []string{"so so"}})
	r.Add(Finding{ID: "a/skipped", Protocol: Tyk, Section: "1.2", Title: "t", Result: Skip, Details: []string{"the server has no hook H"}})
	return r
}

func TestText(t *testing.T) {
	r := sample()
	r.Handshake, r.MutualTLS = true, true
	for _, all := range []bool{false, true} {
		var out bytes.Buffer
		if err := r.WriteText(&out, all); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{
			"a/fails": true, "a/warns": true, "got lines": true, "a/passes": all, "a/skipped": all, "1 cases skipped: the server has no hook H": true,
			"x speaks native, started with go-plugin's handshake and mutual TLS: 1 passed, 1 failed, 1 warned, 1 skipped": true,
		} {
			if strings.Contains(out.String(), text) != want {
				t.Errorf("all=%v: %q in the table is %v:\n%s", all, text, !want, out.String())
			}
		}
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := sample().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.Cases[0].Details[0] = strings.ToValidUTF8(want.Cases[0].Details[0], "\ufffd")
	if diff := cmp.Diff(want, &back); diff != "" {
		t.Error(diff)
	}
}

func TestJUnit(t *testing.T) {
	var out bytes.Buffer
	if err := sample().WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var back suite
	if err := xml.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	back.XMLName = xml.Name{}
	want := suite{Name: "x", Tests: 4, Failures: 1, Skipped: 1, Cases: []testcase{
		{Class: "conform.native", Name: "a/fails", Time: "1.500", Failure: &why{"PROTOCOL.md 1.2: t", "got\nlines ?"}},
		{Class: "conform.both", Name: "a/passes", Time: "0.000"},
		{Class: "conform.both", Name: "a/warns", Time: "0.000", Out: "so so"},
		{Class: "conform.tyk", Name: "a/skipped", Time: "0.000", Skipped: &why{Message: "the server has no hook H"}},
	}}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
}
