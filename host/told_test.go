package host

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Each refused request of a caller is one event, told to observers with who it was, and in neither log nor reply with a token.
func TestCallersEvents(t *testing.T) {
	const tokens, either = "all: [token]", "any: [token, {basic: {header: X-Basic}}]"
	for _, tt := range []struct {
		name, auth, limits string
		session            *identity.Session
		header             string // %s is the key's token
		times              int
		away               bool
		want               string
		events             string
	}{
		{"a good key", tokens, "", &identity.Session{}, "Authorization: %s", 2, false, "200 up:/", ""},
		{"nothing", tokens, "", &identity.Session{}, "A: b", 1, false, "401 Authorization field missing", "AuthFailure Authorization field missing"},
		{"an unknown key", tokens, "", &identity.Session{}, "Authorization: x%s", 1, false, "403 Access to this API has been disallowed", "AuthFailure Access to this API has been disallowed"},
		{"an expired key", tokens, "", &identity.Session{Expires: 1}, "Authorization: %s", 1, false, "401 Key has expired, please renew", "KeyExpired Attempted access from expired key"},
		{"over the rate", tokens, "", &identity.Session{Rate: 1, Per: 3600}, "Authorization: %s", 3, false, "429 Rate Limit Exceeded", "RatelimitExceeded Rate Limit Exceeded, RatelimitExceeded Rate Limit Exceeded"},
		{"over the quota", tokens, "", &identity.Session{QuotaMax: 1, QuotaRenewalRate: 3600}, "Authorization: %s", 2, false, "403 Quota exceeded", "QuotaExceeded Quota exceeded"},
		{"over the API's rate", tokens, "limits: {rate: {requests: 1, per: 1h}}\n", &identity.Session{}, "Authorization: %s", 2, false, "429 API Rate Limit Exceeded", "RatelimitExceeded API Rate Limit Exceeded"},
		{"one of two", either, "", &identity.Session{}, "Authorization: %s", 1, false, "200 up:/", ""},
		{"neither of two", either, "", &identity.Session{}, "Authorization: x%s", 1, false, "403 Access to this API has been disallowed", "AuthFailure Access to this API has been disallowed"},
		{"one of both, and expired", "all: [{name: first, token: {header: X-First}}, token]", "", &identity.Session{Expires: 1}, "X-First: %s", 1, false, "401 Authorization field missing", "AuthFailure Authorization field missing"},
		{"both, one of them expired", "all: [{name: first, token: {header: X-Basic}}, token], identity: token", "", &identity.Session{Expires: 1}, "X-Basic: %s", 1, false, "401 Key has expired, please renew", "KeyExpired Attempted access from expired key"},
		{"nothing to extract", "all: [{hook: {hook: vouch, id_extractor: {from: header, with: value, name: X-Id}}}]", "", &identity.Session{}, "A: b", 1, false, "400 Authorization field missing", "AuthFailure Authorization field missing"},
		{"policies that are not there", "all: [{hook: {hook: vouch, store: true}}]", "", &identity.Session{}, "A: b", 1, false, "403 Forbidden", "AuthFailure Forbidden"},
		{"the store is away", tokens, "", &identity.Session{}, "Authorization: x%s", 1, true, "503 Key store unavailable", ""},
		{"the store is away, one of two", either, "", &identity.Session{}, "Authorization: x%s", 1, true, "503 Key store unavailable", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeyed(t, map[string]sdk.Hook{"vouch": fn(func(x *sdk.Exchange) error {
				x.SetSession(&sdk.Session{KeyID: "k", ApplyPolicies: []string{"none"}})
				return nil
			})}, nil)
			token := k.key(t, "", tt.session)
			k.load(t, ownAPI+"observers: [{observer: o}]\nauth: {"+tt.auth+"}\n"+tt.limits)
			k.store.away.Store(tt.away)
			header := tt.header
			if strings.Contains(header, "%s") {
				header = fmt.Sprintf(header, token)
			}
			var got string
			for range tt.times {
				_, got = k.ask(t, "/a/", header)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if err := k.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			var events []string
			for _, b := range k.w.batches {
				for _, e := range b.Events {
					if e.Type == sdk.EventReload {
						continue
					}
					events = append(events, e.Type+" "+e.Message)
					if e.Route != "a" || e.Org != "o" || e.RequestID == "" || time.Since(e.Time) > time.Minute || e.Meta["Path"] != "/a/" || e.Meta["Origin"] != "192.0.2.1" {
						t.Errorf("got %+v", e)
					}
				}
				for _, r := range b.Records {
					if strings.Contains(fmt.Sprintf("%+v", r), token) {
						t.Errorf("the record shows the token: %+v", r)
					}
				}
			}
			if got := strings.Join(events, ", "); got != tt.events {
				t.Errorf("got events %q, want %q", got, tt.events)
			}
		})
	}
}

// A record has the query that the client sent, without the credentials in it.
func TestRecordsHideCredentials(t *testing.T) {
	k := newKeyed(t, nil, nil)
	token := k.key(t, "", &identity.Session{Alias: "ann"})
	k.load(t, ownAPI+"observers: [{observer: o}]\nauth: {any: [{token: {param: key}}, {all: [{jwt: {param: jwt, method: hmac, source: "+crowdSecret+", policies: [gold]}}]}]}\n")
	jwt := hs256(`{"sub":"bob"}`)
	for _, query := range []string{"a=%2f&key=" + token + "&b", "a=1&k%65y=" + token, "jwt=" + jwt, "a=%2f&b"} {
		if _, got := k.ask(t, "/a/?"+query); strings.HasPrefix(got, "200 ") != strings.Contains(query, "y=") && !strings.Contains(query, "jwt") {
			t.Errorf("%s: got %s", query, got)
		}
	}
	if err := k.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, b := range k.w.batches {
		for _, r := range b.Records {
			queries = append(queries, r.Query)
		}
	}
	if want := "a=%2f&key=hidden&b a=1&key=hidden jwt=hidden a=%2f&b"; strings.Join(queries, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(queries, " "), want)
	}
}

// What a request's record says went wrong is why it was refused, not what methods said before one let the caller in.
func TestRecordsOfGroups(t *testing.T) {
	for header, want := range map[string]string{
		"X-First: %s": "", "X-Second: %s": "", "X-Third: %s": "",
		"X-Second: x%s": "key not known", "A: b%s": "no credential where the definition says",
	} {
		k := newKeyed(t, nil, nil)
		token := k.key(t, "", &identity.Session{})
		k.load(t, ownAPI+"observers: [{observer: o}]\nauth: {any: [{name: first, token: {header: X-First}}, {name: second, token: {header: X-Second}}, {name: third, token: {header: X-Third}}]}\n")
		if _, got := k.ask(t, "/a/", fmt.Sprintf(header, token)); strings.HasPrefix(got, "200 ") != (want == "") {
			t.Errorf("%s: got %s", header, got)
		}
		if err := k.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		records := 0
		for _, b := range k.w.batches {
			for _, r := range b.Records {
				if records++; r.Error != want || (r.AnsweredBy == "upstream") != (want == "") {
					t.Errorf("%s: answered by %s, error %q, want %q", header, r.AnsweredBy, r.Error, want)
				}
			}
		}
		if records != 1 {
			t.Errorf("%s: %d records", header, records)
		}
	}
}
