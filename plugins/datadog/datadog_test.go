package datadog

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is a DogStatsD that adds up what it is sent, by name and tags.
type agent struct {
	mu       sync.Mutex
	counts   map[string]float64
	samples  map[string][]float64
	problems []string
}

// listen makes an agent on UDP or a unix socket and returns its address.
func listen(t *testing.T, network string) (*agent, string) {
	t.Helper()
	a := &agent{counts: map[string]float64{}, samples: map[string][]float64{}}
	address := "127.0.0.1:0"
	if network == "unixgram" {
		address = filepath.Join(t.TempDir(), "s")
	}
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { a.read(conn) })
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
		for _, p := range a.problems {
			t.Error(p)
		}
	})
	if network == "unixgram" {
		return a, "unix://" + address
	}
	return a, conn.LocalAddr().String()
}

func (a *agent) read(conn net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		a.mu.Lock()
		for line := range strings.Lines(string(buf[:n])) {
			if err := a.take(strings.TrimSpace(line)); err != nil {
				a.problems = append(a.problems, err.Error())
			}
		}
		a.mu.Unlock()
	}
}

// take reads name:value[:value]|kind|#tags.
func (a *agent) take(line string) error {
	parts := strings.Split(line, "|")
	name, values, ok := strings.Cut(parts[0], ":")
	if !ok || len(parts) < 2 {
		return fmt.Errorf("%q is no metric", line)
	}
	tags := ""
	for _, p := range parts[2:] {
		if list, ok := strings.CutPrefix(p, "#"); ok {
			sorted := strings.Split(list, ",")
			slices.Sort(sorted)
			tags = strings.Join(sorted, ",")
		}
	}
	for _, text := range strings.Split(values, ":") {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		switch parts[1] {
		case "c":
			a.counts[name+" "+tags] += v
		case "d":
			a.samples[name+" "+tags] = append(a.samples[name+" "+tags], v)
		default:
			return fmt.Errorf("%q: kind %s", line, parts[1])
		}
	}
	return nil
}

func (a *agent) count(key string) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts[key]
}

func (a *agent) durations(key string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.samples[key])
}

func TestMetrics(t *testing.T) {
	for _, how := range []string{"udp", "unixgram", "unixgram, remote"} {
		t.Run(how, func(t *testing.T) {
			network, _, remote := strings.Cut(how, ",")
			a, address := listen(t, network)
			p, err := New(t.Context(), json.RawMessage(fmt.Sprintf(`{"statsd":%q,"tags":["env:test"]}`, address)), sdk.Host{})
			if err != nil {
				t.Fatal(err)
			}
			if remote {
				p = remotetest.Serve(t, p)
			}
			shiptest.Ship(t, p, 0, 500)
			failed := sdk.Batch{
				Records: []sdk.Record{{Route: "shop,|#", Status: 502, Duration: time.Second}}, Dropped: 3,
				Events: []sdk.Event{{Type: sdk.EventHostDown, Route: "shop"}, {Type: sdk.EventHostDown, Route: "shop"}, {Type: sdk.EventReload}},
			}
			if err := p.Observers[0].Observer.Observe(t.Context(), failed); err != nil {
				t.Error(err)
			}
			shiptest.Until(t, "the counts", func() bool { return a.count("turnbuckle.records.dropped env:test") == 3 })
			shiptest.Ship(t, p, 500, 100)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			shiptest.Until(t, "the last counts", func() bool {
				return a.count("turnbuckle.requests api:shop,env:test,status:200,status_class:2xx") == 600
			})
			const request, hook = "turnbuckle.request.duration api:shop,env:test,status:200,status_class:2xx", "turnbuckle.hook.duration api:shop,env:test,hook:Check,outcome:ok,phase:pre,server:guard"
			shiptest.Until(t, "the last durations, which come after", func() bool { return a.durations(request) >= 600 && a.durations(hook) >= 600 })
			a.mu.Lock()
			defer a.mu.Unlock()
			for key, want := range map[string]float64{
				"turnbuckle.requests api:shop___,env:test,status:502,status_class:5xx":            1,
				"turnbuckle.response.bytes api:shop,env:test,status:200,status_class:2xx":         600 * 1234,
				"turnbuckle.hooks api:shop,env:test,hook:Check,outcome:ok,phase:pre,server:guard": 600,
				"turnbuckle.events api:shop,env:test,type:HostDown":                               2,
				"turnbuckle.events api:none,env:test,type:Reload":                                 1,
				"turnbuckle.records.dropped env:test":                                             3,
			} {
				if a.counts[key] != want {
					t.Errorf("%s is %v, want %v: %v", key, a.counts[key], want, a.counts)
				}
			}
			took := a.samples[request]
			if len(took) != 600 || took[0] != 1.234 {
				t.Errorf("%d durations: %v", len(took), took[:min(len(took), 3)])
			}
			if got := len(a.samples[hook]); got != 600 {
				t.Errorf("%d durations of hooks", got)
			}
		})
	}
}

// Nobody listens: metrics are lost and counted, and nothing else happens.
func TestNoAgent(t *testing.T) {
	p, err := New(t.Context(), json.RawMessage(fmt.Sprintf(`{"statsd":"unix://%s/none"}`, t.TempDir())), sdk.Host{})
	if err != nil {
		t.Fatal(err)
	}
	shiptest.Ship(t, p, 0, 1000)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Logs go to the intake, through every way in which it fails, from this process or from one of the plugin's own.
func TestLogs(t *testing.T) {
	shiptest.Bounded(t, 192)
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		logs(t, shiptest.Count(20_000, 1_000_000), func(_ *testing.T, p *sdk.Plugin) *sdk.Plugin { return p })
	})
	t.Run("out of process", func(t *testing.T) {
		t.Parallel()
		logs(t, 20_000, remotetest.Serve)
	})
}

func logs(t *testing.T, records int, where func(*testing.T, *sdk.Plugin) *sdk.Plugin) {
	t.Helper()
	r := shiptest.NewReceiver(t, shiptest.Array)
	config := fmt.Sprintf(`{"metrics":false,"tags":["env:test"],"logs":{"api_key":"k3y","endpoint":%q,"service":"edge","host":"gw1"},`+
		`"spool":{"size":"2GiB"},"batch":{"wait":"20ms"},"retry":{"first":"10ms","max":"200ms","timeout":"1s"}}`, r.URL+"/api/v2/logs")
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	p = where(t, p)
	shiptest.Outages(t, r, p, records)
	for _, request := range r.Requests() {
		if request.URL.String() != "/api/v2/logs?ddtags=env%3Atest" || request.Header.Get("DD-API-KEY") != "k3y" || request.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s %v", request.URL, request.Header)
		}
	}
	var log struct{ Ddsource, Service, Hostname, Kind string }
	if err := json.Unmarshal(r.Last(), &log); err != nil || log.Ddsource != "turnbuckle" || log.Service != "edge" || log.Hostname != "gw1" || log.Kind != "request" {
		t.Errorf("%s: %v", r.Last(), err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{"metrics":false}`, "nothing to do"},
		{`{"tags":["a,b"]}`, "is no tag"},
		{`{"logs":{}}`, "api_key"},
		{`{"logs":{"api_key":"x","endpoint":"ftp://x"}}`, "logs.endpoint"},
		{`{"logs":{"api_key":"x","ca":"gone.pem"}}`, "gone.pem"},
		{`{"nope":1}`, "nope"},
		{`{"statsd":"127.0.0.1"}`, "statsd: "},
	} {
		if _, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		}
	}
}
