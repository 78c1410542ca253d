package identity

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func full(t *testing.T) *Session {
	t.Helper()
	s, err := DecodeSession([]byte(fullSession))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every field that hooks have a place for is filled in, so that one added later is not forgotten.
func TestViewFillsEverything(t *testing.T) {
	v := reflect.ValueOf(*full(t).View("key"))
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not filled in", v.Type().Field(i).Name)
		}
	}
}

func TestViewMetadata(t *testing.T) {
	want := map[string]string{
		"plan": "gold", "seats": "12345678901234567890", "nested": `{"a":[1,2,{"b":null}]}`, "on": "true", "none": "null", "empty": "",
	}
	if diff := cmp.Diff(want, full(t).View("k").Metadata); diff != "" {
		t.Error(diff)
	}
	if got := (Metadata{"a": []int{1}, "b": func() {}}); text(got["a"]) != "[1]" || text(got["b"]) != "" {
		t.Error("values that Go code put there")
	}
}

// A hook that hands back what it was shown changes nothing but the counters, which are not for it to write.
func TestMergeOfItsView(t *testing.T) {
	s := full(t)
	s.AccessRights["empty"] = Access{APIID: "empty"}
	want := s.withoutCounters()
	got := s.Merge(s.View("k"))
	// Hooks know one name for detailed recording, storage two.
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-stored +merged):\n%s", diff)
	}
	if got.QuotaRemaining != 0 || got.AccessRights["41433797848f41a558c1573d3e55a410"].Limit.QuotaRenews != 0 || s.QuotaRemaining == 0 {
		t.Error("the counters are there, or are gone from the original")
	}
}

func TestMerge(t *testing.T) {
	stored := &Session{
		Rate: 1, ThrottleInterval: 3, RSACertificate: "rsa", DetailRecording: true, BasicAuth: BasicAuth{Password: "p"},
		Metadata:     Metadata{"list": rawMessage("[1]"), "gone": "x", "number": rawMessage("7")},
		AccessRights: map[string]Access{"a": {APIID: "a", Limit: Limit{Rate: 5, Per: 1}, AllowanceScope: "s"}, "gone": {}},
		Unknown:      []byte(`{"x":1}`),
	}
	said := &sdk.Session{
		Rate: 2, QuotaRemaining: 9, LastCheck: 1, Metadata: map[string]string{"list": "[1]", "number": "8", "new": "n"},
		AccessRights: map[string]sdk.AccessDefinition{
			"a": {APIID: "a", AllowedURLs: []sdk.AccessSpec{{}, {}, {URL: "/x", Methods: []string{"GET"}}, {URL: "/y"}}},
			"b": {APIID: "b", Versions: []string{"v1"}},
		},
	}
	want := &Session{
		Rate: 2, ThrottleInterval: 3, RSACertificate: "rsa",
		Metadata: Metadata{"list": rawMessage("[1]"), "number": "8", "new": "n"},
		AccessRights: map[string]Access{
			"a": {APIID: "a", Limit: Limit{Rate: 5, Per: 1}, AllowanceScope: "s", AllowedURLs: []Spec{{URL: "/x", Methods: []string{"GET"}}, {URL: "/y"}}},
			"b": {APIID: "b", Versions: []string{"v1"}},
		},
		Unknown: []byte(`{"x":1}`),
	}
	if diff := cmp.Diff(want, stored.Merge(said), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	said.AccessRights["b"].Versions[0] = "changed later"
	if diff := cmp.Diff(&Session{Alias: "a"}, (*Session)(nil).Merge(&sdk.Session{Alias: "a"}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestClone(t *testing.T) {
	s := full(t)
	before, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	c.Tags[0], c.ApplyPolicies[0], c.MTLSBindings[0], c.Monitor.TriggerLimits[0] = "x", "x", "x", 1
	c.Metadata["plan"], c.OAuthKeys["client-1"] = "x", "x"
	a := c.AccessRights["41433797848f41a558c1573d3e55a410"]
	a.Versions[0], a.AllowedURLs[0].Methods[0], a.Endpoints[0].Methods[0].Name = "x", "x", "x"
	c.AccessRights["b1"] = Access{}
	after, err := s.MarshalJSON()
	if err != nil || string(after) != string(before) {
		t.Errorf("the copy shares memory with its original: %s, %v", after, err)
	}
	if (*Session)(nil).Clone() == nil {
		t.Error("a clone of nothing is nil")
	}
}

func TestSessionPolicies(t *testing.T) {
	tests := []struct {
		s    Session
		want string
	}{
		{Session{}, ""},
		{Session{ApplyPolicyID: "a"}, "a"},
		{Session{ApplyPolicies: []string{"b", "c"}}, "b c"},
		{Session{ApplyPolicyID: "a", ApplyPolicies: []string{"b", "c"}}, "b c"},
	}
	for _, test := range tests {
		if got := strings.Join(test.s.Policies(), " "); got != test.want {
			t.Errorf("%+v: %q, want %q", test.s, got, test.want)
		}
	}
}
