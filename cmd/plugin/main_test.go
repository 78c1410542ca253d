package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/inproc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The test's program is the plugin's server too.
func TestMain(m *testing.M) {
	if os.Getenv("PLUGIN") != "" {
		os.Args = append(os.Args[:1], os.Args[2:]...) // -test.run, which keeps a lost child from testing
		main()
	}
	os.Exit(m.Run())
}

// intake counts the lines that are posted, unless it is down.
type intake struct {
	down  atomic.Bool
	lines atomic.Int64
}

func (i *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := gzip.NewReader(r.Body)
	if err != nil || i.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return
	}
	i.lines.Add(int64(strings.Count(string(text), `"kind":"request"`)))
}

// observers opens loggly in each way in which a plugin can run.
func observers(t *testing.T, config string) map[string]func(t *testing.T) (sdk.Observer, func()) {
	return map[string]func(t *testing.T) (sdk.Observer, func()){
		"in process": func(t *testing.T) (sdk.Observer, func()) {
			p := plugin(t, config)
			return p.Observers[0].Observer, func() { fail(t, p.Close()) }
		},
		"behind the wire": func(t *testing.T) (sdk.Observer, func()) {
			s, err := inproc.Open(plugin(t, config))
			fail(t, err)
			return s.Observer("Ship"), func() { fail(t, s.Close()) }
		},
		"out of process": func(t *testing.T) (sdk.Observer, func()) {
			dir, err := os.MkdirTemp("", "tb")
			fail(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			address := "unix:" + filepath.Join(dir, "s")
			env := processtest.Environment("PLUGIN=loggly", "LOGGLY_PLUGIN_CONFIG="+config, "PLUGIN_CONFIG=wrong", "PLUGIN_DIR="+dir)
			p, err := processtest.Spawn("turnbuckle-loggly", dir, env, os.Args[0], "-test.run=none", "-listen", address)
			fail(t, err)
			t.Cleanup(p.Kill)
			_, err = p.Await("msg=serving")
			fail(t, err)
			s, err := rpc.Open(t.Context(), rpc.Options{Address: address})
			fail(t, err)
			return s.Observer("Ship"), func() { fail(t, s.Close()); fail(t, p.Stop()) }
		},
	}
}

func plugin(t *testing.T, config string) *sdk.Plugin {
	t.Helper()
	env := map[string]string{"PLUGIN_CONFIG": config, "PLUGIN_DIR": t.TempDir()}
	p, err := open(t.Context(), "/bin/turnbuckle-loggly", func(name string) string { return env[name] }, io.Discard)
	fail(t, err)
	return p
}

func fail(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The same plugin ships the same, wherever it runs, through an outage too.
func TestShips(t *testing.T) {
	in := &intake{}
	sink := httptest.NewServer(in)
	defer sink.Close()
	config := fmt.Sprintf(`{"token":"t","endpoint":%q,"batch":{"wait":"10ms"},"retry":{"first":"10ms","max":"50ms"}}`, sink.URL)
	for name, open := range observers(t, config) {
		t.Run(name, func(t *testing.T) {
			in.lines.Store(0)
			observer, end := open(t)
			for round := range 3 {
				in.down.Store(round == 1)
				batch := sdk.Batch{Records: make([]sdk.Record, 100)}
				for i := range batch.Records {
					batch.Records[i] = sdk.Record{Time: time.Now(), RequestID: fmt.Sprint(i), Scheme: "http", Status: 200}
				}
				observe(t, observer, batch)
			}
			if !processtest.Poll(func() bool { return in.lines.Load() >= 300 }) {
				t.Errorf("%d of 300 arrived", in.lines.Load())
			}
			end()
		})
	}
}

// observe offers the batch until the server is connected to.
func observe(t *testing.T, o sdk.Observer, b sdk.Batch) {
	t.Helper()
	var err error
	if !processtest.Poll(func() bool { err = o.Observe(t.Context(), b); return err == nil }) {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		program string
		env     map[string]string
		want    string
	}{
		{"/x/turnbuckle-nope", nil, `no plugin "nope"`},
		{"turnbuckle-loggly", nil, "token"},
		{"turnbuckle-loggly", map[string]string{"PLUGIN_CONFIG_FILE": "gone.json"}, "gone.json"},
		{"x", map[string]string{"PLUGIN": "loggly", "PLUGIN_CONFIG": "{"}, "loggly"},
	} {
		_, err := open(context.Background(), test.program, func(name string) string { return test.env[name] }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %v: %v, want %s", test.program, test.env, err, test.want)
		}
	}
}
