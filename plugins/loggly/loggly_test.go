package loggly

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, url, more, dir string) *sdk.Plugin {
	t.Helper()
	config := fmt.Sprintf(`{"token":"T0ken","endpoint":%q,"tags":["edge","shop"],"batch":{"wait":"20ms"},"retry":{"first":"10ms","max":"200ms","timeout":"1s"}%s}`, url, more)
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Whatever the other side does, what was accepted arrives at least once.
func TestOutages(t *testing.T) {
	shiptest.Bounded(t, 128)
	r := shiptest.NewReceiver(t, shiptest.Lines)
	p := open(t, r.URL, `,"spool":{"size":"2GiB"}`, t.TempDir())
	shiptest.Outages(t, r, p, shiptest.Count(20_000, 1_000_000))
	for _, request := range r.Requests() {
		if request.URL.Path != "/bulk/T0ken/tag/edge,shop/" || request.Header.Get("Content-Type") != "application/json" || request.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s %v", request.URL, request.Header)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A restart in an outage loses nothing.
func TestRestart(t *testing.T) {
	r := shiptest.NewReceiver(t, shiptest.Lines)
	r.Set(t, shiptest.Refused)
	dir := t.TempDir()
	p := open(t, r.URL, `,"gzip":false`, dir)
	shiptest.Ship(t, p, 0, 1000)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	r.Set(t, shiptest.Fine)
	p = open(t, r.URL, `,"gzip":false`, dir)
	shiptest.Until(t, "what was left", func() bool { return r.Seen.Len() == 1000 })
	r.Seen.Check(t, 0, 1000)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, "token"},
		{`{"token":"x","endpoint":"logs.example"}`, "url: must begin with https://"},
		{`{"token":"x","endpoint":"http://%zz"}`, "url: "},
		{`{"token":"x","tags":["a b"]}`, "is no tag"},
		{`{"token":"x","nope":1}`, "nope"},
		{`{"token":"x","ca":"gone.pem"}`, "ca: "},
		{`{"token":"x","batch":{"wait":"1"}}`, "duration"},
	} {
		if _, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		} else if strings.Contains(err.Error(), "T0ken") {
			t.Errorf("the token is told: %v", err)
		}
	}
}

// Headers that are asked for are shipped, from a process of its own as well; secrets in them are not.
func TestHeaders(t *testing.T) {
	for _, remote := range []bool{false, true} {
		bodies := make(chan string, 1)
		r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			body, _ := io.ReadAll(q.Body)
			bodies <- string(body)
		}))
		p := open(t, r.URL, `,"gzip":false,"send":{"headers":["Accept","Authorization"],"response_headers":"all","fields":["request","response"]}`, t.TempDir())
		to := p.Observers[0].Observer
		if remote {
			to = remotetest.Serve(t, p).Observers[0].Observer
		}
		if err := to.Observe(t.Context(), sdk.Batch{Records: []sdk.Record{{
			Header:      []sdk.Field{{Name: "Accept", Value: "a/b"}, {Name: "Authorization", Value: "Bearer s3cret"}},
			ReplyHeader: []sdk.Field{{Name: "Location", Value: "/?token=s3cret"}},
		}}}); err != nil {
			t.Fatal(err)
		}
		const want = `{"request":{"bytes":0,"headers":{"accept":"a/b","authorization":"hidden"}},"response":{"status":0,"bytes":0,"headers":{"location":"/?token=hidden"}}}`
		if got := <-bodies; got != want {
			t.Errorf("remote %v: got %s, want %s", remote, got, want)
		}
		if !remote {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		r.Close()
	}
}
