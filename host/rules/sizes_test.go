package rules

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func limits(t *testing.T, api config.Size) *Sizes {
	t.Helper()
	list := matches("/up/*", "POST /small", "/x/{id}")
	s, err := CompileSizes(api, []config.PathLimit{
		{PathMatch: list[0], Body: 100}, {PathMatch: list[1], Body: 5}, {PathMatch: list[2], Body: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSizesLimit(t *testing.T) {
	tests := []struct {
		api          config.Size
		method, path string
		want         int64
	}{
		{10, "GET", "/", 10},
		{0, "GET", "/", 0},
		{10, "GET", "/up/a", 100},
		{10, "GET", "/up/%61", 100},
		{10, "GET", "/up/../a", 10},
		{10, "GET", "/a/../up/x", 10},
		{0, "GET", "/up/../a", 100},
		{10, "POST", "/small", 5},
		{10, "GET", "/small", 10},
		{10, "POST", "/%73mall", 5},
		{10, "POST", "/up/../small", 5},
		{10, "POST", "//small;x", 5},
		{10, "POST", "/../q", 5},
		{0, "GET", "/x/a%2Fb", 7},
	}
	for _, test := range tests {
		if got := limits(t, test.api).Limit(test.method, test.path); got != test.want {
			t.Errorf("%d: %s %s: got %d, want %d", test.api, test.method, test.path, got, test.want)
		}
	}
	if s, err := CompileSizes(0, nil); s != nil || err != nil || s.Limit("GET", "/") != 0 || s.Enforce(&flow.Flow{}, "/") != nil {
		t.Errorf("no limits: got %v, %v", s, err)
	}
	if _, err := CompileSizes(0, []config.PathLimit{{PathMatch: matches("~(")[0]}}); err == nil {
		t.Error("a bad pattern compiles")
	}
}

type body struct{ io.Reader }

func (body) Close() error         { return nil }
func (body) Trailer() *sdk.Header { return nil }

func TestSizesEnforce(t *testing.T) {
	s := limits(t, 10)
	tests := []struct {
		name    string
		length  int64
		body    string
		refused bool  // at once
		read    int64 // bytes that can be read
		over    bool  // reading fails in the end
	}{
		{name: "declared", length: 10, body: "0123456789", read: 10},
		{name: "declared too large", length: 11, body: "0123456789x", refused: true},
		{name: "unknown", length: -1, body: "0123456789", read: 10},
		{name: "unknown too large", length: -1, body: "0123456789x", read: 10, over: true},
		{name: "unknown empty", length: -1},
	}
	for _, test := range tests {
		var f flow.Flow
		f.X.Request().Fill(sdk.RequestInit{Method: "POST", Path: "/", Length: test.length})
		f.Body = body{iotest.OneByteReader(strings.NewReader(test.body))}
		err := s.Enforce(&f, "/")
		if (err != nil) != test.refused {
			t.Errorf("%s: got %v", test.name, err)
			continue
		}
		if err == nil {
			var n int64
			n, err = io.Copy(io.Discard, f.Body)
			if n != test.read || (err != nil) != test.over {
				t.Errorf("%s: read %d, %v", test.name, n, err)
			}
		}
		var reply *sdk.Error
		if err != nil && (!errors.As(err, &reply) || reply.Status != 413) {
			t.Errorf("%s: got %v, want one with a 413", test.name, err)
		}
	}
	var f flow.Flow
	f.X.Request().Fill(sdk.RequestInit{Method: "POST", Path: "/", Length: -1})
	f.X.Request().LoadBody([]byte("0123456789x"))
	if err := s.Enforce(&f, "/"); err == nil {
		t.Error("a body that has been read is let through")
	}
}

func TestLimitBody(t *testing.T) {
	broken := errors.New("broken")
	b := LimitBody(body{io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken))}, 5)
	got, err := io.ReadAll(b)
	if string(got) != "abc" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
	b = LimitBody(body{strings.NewReader("abcdef")}, 5)
	buf := make([]byte, 100)
	n, err := b.Read(buf)
	var large *TooLargeError
	if n != 5 || !errors.As(err, &large) || large.Limit != 5 {
		t.Errorf("got %d, %v", n, err)
	}
	if n, again := b.Read(buf); n != 0 || again != err {
		t.Errorf("read again: got %d, %v", n, again)
	}
	b = LimitBody(body{iotest.DataErrReader(strings.NewReader("abcde"))}, 5)
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: got %d, %v", n, err)
	}
	if got, err := io.ReadAll(b); string(got) != "abcde" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTimeouts(t *testing.T) {
	list := matches("GET /slow/*", "/slow/x", "/a b")
	timeouts, err := CompileTimeouts([]config.PathTimeout{
		{PathMatch: list[0], Total: time.Minute}, {PathMatch: list[1], Total: time.Hour}, {PathMatch: list[2], Total: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path string
		want         time.Duration
	}{
		{"GET", "/slow/x", time.Minute}, {"POST", "/slow/x", time.Hour}, {"POST", "/slow/y", 0},
		{"POST", "/a%20b", time.Second}, {"POST", "/y/../a%20b/", time.Second}, {"GET", "", 0},
	}
	for _, test := range tests {
		if got := timeouts.Total(test.method, test.path); got != test.want {
			t.Errorf("%s %s: got %v, want %v", test.method, test.path, got, test.want)
		}
	}
	if none, err := CompileTimeouts(nil); none != nil || err != nil || none.Total("GET", "/") != 0 {
		t.Errorf("none: got %v, %v", none, err)
	}
	if _, err := CompileTimeouts([]config.PathTimeout{{PathMatch: matches("~(")[0]}}); err == nil {
		t.Error("a bad pattern compiles")
	}
}
