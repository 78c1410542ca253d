package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadPolicies(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, map[string]string{
		"gold.yaml": "name: Gold\nrate: 10\nper: 1\naccess_rights:\n  a: {versions: [v1]}\n", "silver.json": `{"id": "argent", "org_id": "o", "Rate": 5}`,
		"notes.txt": "no policy", ".hidden.json": "{",
	})
	policies, err := LoadPolicies(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(policies) != 2 || policies[0].ID != "gold" || policies[0].Rate != 10 || policies[0].AccessRights["a"].Versions[0] != "v1" ||
		policies[1].ID != "argent" || policies[1].OrgID != "o" || policies[1].Rate != 5 {
		t.Errorf("got %+v", policies)
	}
	one := filepath.Join(t.TempDir(), "policies.json")
	if err := os.WriteFile(one, []byte(`{"b": {"_id": "x", "id": "other", "rate": 1}, "a": {"org_id": "o", "unknown": 1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if policies, err = LoadPolicies(one); err != nil || len(policies) != 2 || policies[0].ID != "a" || policies[1].ID != "b" {
		t.Errorf("got %+v, %v", policies, err)
	}
}

func TestLoadPoliciesRefuses(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"every file that is wrong", map[string]string{"a.json": `{"rate": "x"}`, "b.yaml": "rate: [", "c.json": `{}`}, []string{"a.json", "/rate", "b.yaml"}},
		{"two of one id", map[string]string{"a.json": `{"id": "x"}`, "b.json": `{"id": "x"}`}, []string{`two policies "x"`}},
		{"a long id", map[string]string{"a.json": `{"id": "` + strings.Repeat("x", 300) + `"}`}, []string{"1 to 256 bytes"}},
		{"too large", map[string]string{"a.json": strings.Repeat(" ", 5<<20)}, []string{"a.json", "more than"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			write(t, folder, test.files)
			policies, err := LoadPolicies(folder)
			if err == nil || policies != nil {
				t.Fatalf("got %+v", policies)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
	folder := t.TempDir()
	write(t, folder, map[string]string{"list.json": `[{"id": "a"}]`, "inner.json": `{"a": {"rate": 1}, "b": {"rate": "x"}, "": {}}`})
	for file, want := range map[string]string{"list.json": "must be a JSON object", "inner.json": `"b"`, "none.json": "no such file"} {
		if _, err := LoadPolicies(filepath.Join(folder, file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	f := newFixture(t, Options{})
	p, ctx := f.policies, t.Context()
	p.SetFiles([]*Policy{{ID: "file", Name: "from the file"}, {ID: "owned", OrgID: org}})
	id, added, err := p.Put(ctx, &Policy{OrgID: org, Name: "unnamed"})
	if err != nil || !added || len(id) != 32 {
		t.Errorf("%q, %v, %v", id, added, err)
	}
	for i, want := range []bool{true, false} {
		if _, added, err := p.Put(ctx, &Policy{ID: "a/b%", OrgID: "o/", Name: fmt.Sprint(i)}); err != nil || added != want {
			t.Errorf("%v, %v", added, err)
		}
		if got, err := p.Get(ctx, "o/", "a/b%"); err != nil || got.Name != fmt.Sprint(i) || got.ID != "a/b%" || got.OrgID != "o/" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, name := range []policyName{{org, "a/b%"}, {"other", "owned"}, {org, strings.Repeat("x", 5000)}, {strings.Repeat("/", 1000), "x"}} {
		for range 2 {
			if _, err := p.Get(ctx, name.org, name.id); !errors.Is(err, ErrUnknown) {
				t.Errorf("%.20v: %v", name, err)
			}
		}
	}
	if got, err := p.Get(ctx, "any", "file"); err != nil || got.Name != "from the file" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, policy := range []*Policy{{ID: "file", OrgID: org}, {ID: "owned", OrgID: org}} {
		if _, _, err := p.Put(ctx, policy); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", policy.ID, err)
		}
		if err := p.Delete(ctx, org, policy.ID); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", policy.ID, err)
		}
	}
	for _, policy := range []*Policy{{ID: strings.Repeat("x", 300)}, {ID: "x", Name: strings.Repeat("x", MaxJSON)}} {
		if _, _, err := p.Put(ctx, policy); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.10s: %v", policy.ID, err)
		}
	}
	if err := p.Delete(ctx, "o/", "a/b%"); err != nil {
		t.Error(err)
	}
	if err := p.Delete(ctx, "o/", "a/b%"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	f.store.away.Store(true)
	defer f.store.away.Store(false)
	if _, err := p.Get(ctx, org, "cold"); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := p.Get(ctx, org, "owned"); err != nil {
		t.Errorf("a policy of a file needs the store: %v", err)
	}
}

func TestListPolicies(t *testing.T) {
	f := newFixture(t, Options{})
	var files []*Policy
	for i := range 5 {
		files = append(files, &Policy{ID: fmt.Sprintf("file%d", i)}, &Policy{ID: fmt.Sprintf("file%d", i), OrgID: "other"})
	}
	f.policies.SetFiles(files)
	for i := range 7 {
		for _, o := range []string{org, "other"} {
			if _, _, err := f.policies.Put(t.Context(), &Policy{ID: fmt.Sprintf("stored%d", i), OrgID: o}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		q    Query
		want int
	}{
		{Query{Org: org}, 12}, {Query{Org: org, Limit: 2}, 12}, {Query{AllOrgs: true, Limit: 3}, 24}, {Query{Org: org, Prefix: "stored1"}, 1},
		{Query{AllOrgs: true, Prefix: "stored1"}, 2}, {Query{Org: "none"}, 5}, {Query{AllOrgs: true, Limit: 5000}, 24},
	} {
		var got []string
		q := test.q
		for pages := 0; ; pages++ {
			page, err := f.policies.List(t.Context(), q)
			if err != nil || len(page.Policies) > q.limit() || pages > 50 {
				t.Fatalf("%+v: %+v, %v", q, page, err)
			}
			for _, p := range page.Policies {
				got = append(got, p.OrgID+"/"+p.ID)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != test.want {
			t.Errorf("%+v: %d policies, want %d: %q", test.q, n, test.want, got)
		}
	}
}

// Policies whose last API was taken out of them let nobody in, unless the settings want such keys to be good for every API;
// policies that leave it to the keys which APIs those are for do.
func TestPoliciesThatGrantNothing(t *testing.T) {
	limitsOnly := Partitions{Quota: true, RateLimit: true}
	for _, test := range []struct {
		name     string
		policies []*Policy
		refused  bool
	}{
		{"whole", []*Policy{{ID: "p", Rate: 5, Per: 1}}, true},
		{"access alone", []*Policy{{ID: "p", Partitions: Partitions{ACL: true}}}, true},
		{"per API", []*Policy{{ID: "p", Partitions: Partitions{PerAPI: true}}}, true},
		{"limits alone", []*Policy{{ID: "p", Rate: 5, Per: 1, Partitions: limitsOnly}}, false},
		{"limits, with rights that do not count", []*Policy{{ID: "p", Partitions: Partitions{ACL: true}}, {ID: "q", Partitions: limitsOnly, AccessRights: rights("a")}}, true},
		{"another grants", []*Policy{{ID: "p", Partitions: Partitions{ACL: true}}, {ID: "q", Partitions: Partitions{ACL: true}, AccessRights: rights("a")}}, false},
	} {
		for _, master := range []bool{false, true} {
			f := newFixture(t, Options{Master: master})
			whole := []*Policy{{ID: "p", AccessRights: rights("a")}, {ID: "q", AccessRights: rights("a")}}
			f.policies.SetFiles(whole)
			s := &Session{OrgID: org}
			for _, p := range test.policies {
				s.ApplyPolicies = append(s.ApplyPolicies, p.ID)
			}
			f.put("anna", s)
			f.must(org, "anna")
			f.policies.SetFiles(test.policies)
			_, looked := f.Lookup(t.Context(), org, "anna")
			adoption := Adoption{Org: org, Token: "virtual", Session: s, Store: true}
			_, adopted := f.Adopt(t.Context(), adoption)
			adoption.Store = false
			_, borrowed := f.Adopt(t.Context(), adoption)
			for what, err := range map[string]error{"looked up": looked, "adopted": adopted, "borrowed": borrowed} {
				if want := test.refused && !master; errors.Is(err, ErrPolicy) != want || err != nil != want {
					t.Errorf("%s, master %v, %s: %v", test.name, master, what, err)
				}
			}
			if stored, err := f.Exists(t.Context(), Ref{Org: org, Key: "virtual"}); stored != (!test.refused || master) || err != nil {
				t.Errorf("%s, master %v: stored %v, %v", test.name, master, stored, err)
			}
		}
	}
}
