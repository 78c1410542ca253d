package coprocesstest

import (
	"bytes"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// fullSession has every field set.
func fullSession() *sdk.Session {
	return &sdk.Session{
		KeyID: "key", Alias: "alias", OrgID: "acme", LastCheck: 1, Allowance: 2.5, Rate: 3, Per: 4, Expires: 5, QuotaMax: 6, QuotaRenews: 7,
		QuotaRemaining: 8, QuotaRenewalRate: 9,
		AccessRights: map[string]sdk.AccessDefinition{"orders": {
			APIName: "Orders", APIID: "orders", Versions: []string{"Default", "v2"},
			AllowedURLs: []sdk.AccessSpec{{URL: "/a", Methods: []string{"GET", "POST"}}, {URL: "/b"}},
		}},
		OAuthClientID: "client", OAuthKeys: map[string]string{"a": "b"}, BasicAuth: &sdk.BasicAuth{Password: "p", Hash: "h"}, JWTSecret: "jwt",
		HMACEnabled: true, HMACSecret: "hmac", Inactive: true, ApplyPolicyID: "one", ApplyPolicies: []string{"one", "two"}, DataExpires: 10,
		TriggerLimits: []float64{0.5, 0.75}, DetailedRecording: true, Metadata: map[string]string{"token": "key", "m": "n"}, Tags: []string{"t"},
		LastUpdated: "now", IDExtractorDeadline: 11, Lifetime: 12, Certificate: "cert", MaxQueryDepth: 13, PostExpiryAction: "retain", PostExpiryGrace: 14,
	}
}

func sessionCases() []testCase {
	has := func(x *sdk.Exchange) { x.BeginSession(fullSession()) }
	return []testCase{
		{name: "authenticates", phase: sdk.Auth, hook: func(x *sdk.Exchange) error {
			x.Authenticate("key", "alias")
			return nil
		}, tyk: func(s *sdk.Snapshot) { // the key travels as a token, and the organisation is the route's
			s.Session.OrgID, s.Session.Metadata = "acme", map[string]string{"token": "key"}
		}},
		{name: "sets a whole session", phase: sdk.Auth, hook: func(x *sdk.Exchange) error {
			x.SetSession(fullSession())
			return nil
		}},
		{name: "leaves nobody", phase: sdk.Auth, hook: func(*sdk.Exchange) error { return nil }},
		{name: "takes the identity away", phase: sdk.PostKeyAuth, noTyk: authOnly, setup: has, hook: func(x *sdk.Exchange) error {
			x.SetSession(nil)
			return nil
		}},
		{name: "sees the session", phase: sdk.PostKeyAuth, setup: has, hook: func(x *sdk.Exchange) error {
			return echo(x, fmt.Sprintf("%+v", x.Session().Tags), x.Session().KeyID, x.Session().Metadata["m"], fmt.Sprint(x.Session().Rate))
		}},
		{name: "sees no session", phase: sdk.PostKeyAuth, hook: func(x *sdk.Exchange) error {
			return echo(x, fmt.Sprint(x.Session() == nil))
		}},
		{name: "edits the session", phase: sdk.PostKeyAuth, noTyk: authOnly, setup: has, hook: func(x *sdk.Exchange) error {
			x.EditSession().Metadata["m"] = "changed"
			x.EditSession().Tags = nil
			return nil
		}},
	}
}

func valueCases() []testCase {
	return []testCase{
		{name: "leaves values", phase: sdk.Pre, noTyk: notCarried, setup: func(x *sdk.Exchange) {
			x.BeginValue("before", []byte(`1`))
			x.BeginValue("gone", []byte(`2`))
		}, hook: func(x *sdk.Exchange) error {
			x.SetValue("new", []byte{0xff})
			x.SetValue("empty", []byte{})
			x.SetValue("gone", nil)
			return echo(x, string(x.Value("before")), string(x.Value("gone")))
		}},
	}
}

func responseCases() []testCase {
	return []testCase{
		{name: "sees the reply", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			r := x.Response()
			r.Header().Set("X-Echo", fmt.Sprint(r.Status(), r.Header().Values("Set-Cookie"), string(r.Body()), x.Request().Path()))
			return nil
		}},
		{name: "changes the reply", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			r := x.Response()
			r.SetStatus(201)
			r.Header().Del("Content-Type")
			r.Header().Add("Set-Cookie", "c=3")
			r.SetBody([]byte{0xff, 0})
			return nil
		}},
		{name: "empties the reply", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			x.Response().Header().Clear()
			x.Response().SetBody(nil)
			return nil
		}},
		{name: "replaces the reply", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			x.Answer(503, []byte("sorry")).Header().Set("Retry-After", "1")
			return nil
		}, tyk: func(s *sdk.Snapshot) { s.Answered = false }}, // there the reply is changed, all of it
		{name: "replaces a large reply", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			x.Response().SetBody(bytes.Repeat([]byte("x"), 1<<20))
			return nil
		}},
		{name: "writes an invalid reply header", phase: sdk.ResponsePhase, hook: func(x *sdk.Exchange) error {
			x.Response().Header().Set("X-Bad", "a\nb")
			return nil
		}},
	}
}
