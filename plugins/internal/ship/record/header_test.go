package record

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestHeaders(t *testing.T) {
	check := checkSchema(t)
	record := &sdk.Record{
		Header:      []sdk.Field{{Name: "Accept", Value: "a/b"}, {Name: "Authorization", Value: "Bearer s3cret"}, {Name: "accept", Value: "c/d"}, {Name: "X-Q", Value: "\xff"}},
		ReplyHeader: []sdk.Field{{Name: "Set-Cookie", Value: "a=s3cret"}, {Name: "Content-Type", Value: "text/plain"}}, HeaderCut: true,
	}
	only := []string{"kind", "time", "request.headers", "response.headers", "headers_cut"}
	const begin = `{"kind":"request","time":"0001-01-01T00:00:00.000000Z",`
	for _, test := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Only: only}, begin + `"request":{"headers":{"accept":"a/b, c/d","authorization":"hidden","x-q":"` + "\ufffd" + `"}},` +
			`"response":{"headers":{"set-cookie":"hidden","content-type":"text/plain"}},"headers_cut":true}`},
		{"those of one observer", Options{Only: only, Headers: &sdk.RecordNeeds{Header: []string{"X-*"}}}, begin + `"request":{"headers":{"x-q":"` + "\ufffd" + `"}},"response":{},"headers_cut":true}`},
		{"without", Options{Only: only, Without: []string{"request", "headers_cut"}}, begin + `"response":{"headers":{"set-cookie":"hidden","content-type":"text/plain"}}}`},
		{"secrets shown", Options{Only: only, Without: []string{"response", "headers_cut"}, ShowSecrets: true, Secret: []string{"accept"}},
			begin + `"request":{"headers":{"accept":"hidden","authorization":"Bearer s3cret","x-q":"` + "\ufffd" + `"}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := encoder(t, test.o).AppendRecord(nil, record)
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
			check(got)
		})
	}
}

// What is a secret in a header is told by its name, and in addresses by the names of parameters.
func TestSecretHeaders(t *testing.T) {
	r, err := newRedactor([]string{"X-Internal"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token", "x-access-token", "X-Auth", "X-Amz-Security-Token",
		"Ocp-Apim-Subscription-Key", "X-Functions-Key", "X-Goog-Iap-Jwt-Assertion", "X-Csrf-Token", "X-Session-Id", "X-Original-Authorization", "X-Hub-Signature", "x_internal",
		"A-Very-Long-Name-That-Nobody-Would-Have-Any-Good-Reason-For-In-The-Whole-World-Or-Anywhere-Else",
	} {
		if got := r.header(name, "s3cret"); got != Hidden {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, name := range []string{"Accept", "Content-Type", "User-Agent", "X-Request-Id", "Idempotency-Key", "Sec-WebSocket-Key", "X-Forwarded-For", "WWW-Authenticate", "Author"} {
		if got := r.header(name, "value"); got != "value" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for value, want := range map[string]string{
		"":                                     "",
		"https://a.example/b?c=d#e":            "https://a.example/b?c=d#e",
		"https://a.example/b?c=d&code=s3cret":  "https://a.example/b?c=d&code=hidden",
		"https://a.example/b?token=s3cret&c=d": "https://a.example/b?token=hidden&c=d",
		"/cb#access_token=s3cret&c=d":          "/cb#access_token=hidden&c=d",
		"/a?b=c?pin=s3cret#sid=s3cret":         "/a?b=c?pin=hidden#sid=hidden",
		"https://ann:s3cret@a.example/b":       "https://hidden@a.example/b",
		"<https://ann@s3cret@a.example/b>; rel=\"next\", <http://x@y/>": "<https://hidden@a.example/b>; rel=\"next\", <http://hidden@y/>",
		"https://a.example/@b": "https://a.example/@b",
	} {
		if got := r.header("Referer", value); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

// An event's request in base64 has the header and the body in it.
func TestEventsHideRequests(t *testing.T) {
	got := string(encoder(t, Options{Only: []string{"meta"}}).AppendEvent(nil, &sdk.Event{Meta: map[string]string{"OriginatingRequest": "R0VUIC8=", "Path": "/a"}}))
	if want := `{"meta":{"OriginatingRequest":"hidden","Path":"/a"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
