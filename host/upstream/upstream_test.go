package upstream_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns an upstream that is closed with the test, which fails when requests have to be cut. Two processors make
// the balancer's order that of one hand, so that tests can count; the ring's own test has more.
func open(t testing.TB, o upstream.Options) *upstream.Upstream {
	t.Helper()
	if _, ok := t.(*testing.T); ok {
		runtime.GOMAXPROCS(2)
	}
	u, err := upstream.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := u.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return u
}

func targets(urls ...string) []upstream.Target {
	var all []upstream.Target
	for _, u := range urls {
		all = append(all, upstream.Target{URL: u})
	}
	return all
}

// request makes a flow of a method, a target and header lines "Name: value".
func request(method, target string, header ...string) *flow.Flow {
	f := &flow.Flow{}
	path, query, _ := strings.Cut(target, "?")
	f.X.Request().Fill(sdk.RequestInit{Method: method, Path: path, Query: query, URI: target, Length: -1})
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		f.X.Request().Header().Append(name, value)
	}
	f.Out.Path, f.Out.Query = path, query
	return f
}

func buffered(f *flow.Flow, body string) *flow.Flow {
	f.X.Request().LoadBody([]byte(body))
	return f
}

// answer is a reply read to its end.
type answer struct {
	status  int
	header  []sdk.Field
	body    string
	trailer []sdk.Field
}

func read(f *flow.Flow) (answer, error) {
	r := f.X.Response()
	a := answer{status: r.Status(), header: append([]sdk.Field(nil), r.Header().Fields()...)}
	b, err := io.ReadAll(f.Reply.Body)
	a.body = string(b)
	if trailer := f.Reply.Body.Trailer(); trailer != nil {
		a.trailer = append(a.trailer, trailer.Fields()...)
	}
	f.Reply.Body.Close()
	return a, err
}

func TestRoundTrip(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got", r.Method+" "+r.RequestURI+" "+r.Host)
		w.Write(append([]byte("echo "), body...))
	}))
	defer s.Close()
	u := open(t, upstream.Options{Targets: targets(s.URL + "/base/")})
	for range 3 {
		f := buffered(request("POST", "//a%2Fb?x=%zz"), "hello")
		f.Out.Host = "example.org"
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		got, err := read(f)
		if err != nil {
			t.Fatal(err)
		}
		if got.status != 200 || got.body != "echo hello" || f.X.Response().Header().Get("x-got") != "POST /base//a%2Fb?x=%zz example.org" {
			t.Errorf("got %+v", got)
		}
	}
}
