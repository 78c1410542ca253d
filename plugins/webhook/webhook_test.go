package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="

// receiver is a target that checks signatures, and answers as it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string                                     // that were taken, in order
	ids    map[string]int                               // how often an id came
	header http.Header                                  // of the last
	answer func(n int) (status int, header http.Header) // to the nth request, from 1
	n      int
	under  int // requests under way
	most   int
}

func newReceiver(t *testing.T, answer func(n int) (int, http.Header)) *receiver {
	t.Helper()
	r := &receiver{ids: map[string]int{}, answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		if err := verify(q.Header, body); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.n++
		n := r.n
		r.under++
		r.most = max(r.most, r.under)
		r.ids[q.Header.Get("Webhook-Id")]++
		r.header = q.Header
		r.mu.Unlock()
		status, header := 204, http.Header(nil)
		if r.answer != nil {
			status, header = r.answer(n)
		}
		r.mu.Lock()
		r.under--
		if status/100 == 2 {
			r.bodies = append(r.bodies, string(body))
		}
		r.mu.Unlock()
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

// verify checks a signature as a receiver does, by the specification and not by our code.
func verify(h http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if !slices.Contains(strings.Fields(h.Get("Webhook-Signature")), want) {
		return fmt.Errorf("signature %q, want %q", h.Get("Webhook-Signature"), want)
	}
	var at int64
	if _, err := fmt.Sscan(h.Get("Webhook-Timestamp"), &at); err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		return fmt.Errorf("timestamp %q", h.Get("Webhook-Timestamp"))
	}
	return nil
}

func (r *receiver) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

// open makes the plugin with one target; %s in config stands for its settings' beginning.
func open(t *testing.T, url, more string) (*sdk.Plugin, string) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`{"allow": ["127.0.0.0/8"], "targets": [{"url": %q, "secrets": [%q], "retry": {"first": "1ms", "max": "20ms"}%s}]}`, url, secret, more)
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, dir
}

func observe(t *testing.T, p *sdk.Plugin, b sdk.Batch) {
	t.Helper()
	if err := p.Observers[0].Observer.Observe(t.Context(), b); err != nil {
		t.Error(err)
	}
}

func events(types ...string) sdk.Batch {
	var b sdk.Batch
	for i, kind := range types {
		b.Events = append(b.Events, sdk.Event{
			Time: time.Unix(int64(i), 0), Type: kind, Route: "shop", Org: "acme", RequestID: fmt.Sprint(i), Message: kind + " happened",
			Meta: map[string]string{"Path": "/x"},
		})
	}
	return b
}

func TestWhatIsSent(t *testing.T) {
	records := shiptest.Batch(0, 2)
	records.Records[1].Status = 502
	all := events("QuotaExceeded", "AuthFailure")
	all.Records = records.Records
	for _, tt := range []struct {
		name, config string
		want         []string
	}{
		{"all events", `, "template": "{{.type}} {{.api.id}} {{.meta.Path}}"`, []string{"QuotaExceeded shop /x", "AuthFailure shop /x"}},
		{"one type", `, "events": ["AuthFailure"], "template": "{{.type}}"`, []string{"AuthFailure"}},
		{"requests", `, "events": [], "requests": {"sample": 1}, "template": "{{.request_id}} {{.response.status}}"`, []string{"0 200", "1 502"}},
		{"failed requests", `, "events": [], "requests": {"sample": 1, "status": 500}, "template": "{{.request_id}}"`, []string{"1"}},
		{"JSON in a template", `, "events": ["AuthFailure"], "template": "{\"text\": {{json .message}}}"`, []string{`{"text": "AuthFailure happened"}`}},
		{"what is not there", `, "events": ["AuthFailure"], "template": "<{{with .request}}{{.path}}{{end}}>"`, []string{"<>"}},
		{"as JSON", `, "events": ["AuthFailure"], "fields": ["kind", "type"]`, []string{`{"kind":"event","type":"AuthFailure"}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t, nil)
			p, _ := open(t, r.URL, `, "in_flight": 1`+tt.config)
			observe(t, p, all)
			shiptest.Until(t, "deliveries", func() bool { return len(r.taken()) >= len(tt.want) })
			if diff := cmp.Diff(tt.want, r.taken()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	r := newReceiver(t, nil)
	p, _ := open(t, r.URL+"/in?a=b", `, "method": "PUT", "content_type": "text/plain", "headers": {"Authorization": "Bearer x"}`)
	observe(t, p, events("AuthFailure"))
	shiptest.Until(t, "a delivery", func() bool { return len(r.taken()) == 1 })
	if r.header.Get("Content-Type") != "text/plain" || r.header.Get("Authorization") != "Bearer x" || !strings.HasPrefix(r.header.Get("Webhook-Id"), "msg_") {
		t.Errorf("%v", r.header)
	}
}

// What fails is sent again with the same id, until it has arrived.
func TestRetries(t *testing.T) {
	for name, answer := range map[string]func(n int) (int, http.Header){
		"500": func(n int) (int, http.Header) { return map[bool]int{true: 500, false: 200}[n < 4], nil },
		"429, in a while": func(n int) (int, http.Header) {
			return map[bool]int{true: 429, false: 200}[n < 3], http.Header{"Retry-After": {"0"}}
		},
		"408": func(n int) (int, http.Header) { return map[bool]int{true: 408, false: 200}[n < 3], nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, answer)
			p, _ := open(t, r.URL, "")
			observe(t, p, events("AuthFailure"))
			shiptest.Until(t, "a delivery", func() bool { return len(r.taken()) == 1 })
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.ids) != 1 {
				t.Errorf("ids %v", r.ids)
			}
		})
	}
}

// What can never arrive is given up at once, what does not in the end after so many attempts: it is in the file of dead
// letters, and does not hold up what comes after it.
func TestDeadLetters(t *testing.T) {
	for name, tt := range map[string]struct {
		status, attempts int
		why              string
	}{
		"refused":    {400, 1, "400 Bad Request"},
		"redirected": {302, 1, "302 Found"},
		"too often":  {503, 3, "503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			var attempts int
			r := newReceiver(t, nil)
			r.answer = func(int) (int, http.Header) { return tt.status, http.Header{"Location": {"http://127.0.0.1:1/"}} }
			p, dir := open(t, r.URL, `, "attempts": 3, "in_flight": 1, "template": "{{.type}}"`)
			observe(t, p, events("First"))
			shiptest.Until(t, "the letter", func() bool { return shiptest.Stat(p, "rejected") == 1 })
			r.mu.Lock()
			attempts = r.n
			r.answer = nil
			r.mu.Unlock()
			observe(t, p, events("Second"))
			shiptest.Until(t, "the next", func() bool { return len(r.taken()) == 1 })
			if attempts != tt.attempts {
				t.Errorf("%d attempts, want %d", attempts, tt.attempts)
			}
			letters := dead(t, dir)
			if len(letters) != 1 || letters[0].Body != "First" || !strings.Contains(letters[0].Error, tt.why) || letters[0].ID == "" {
				t.Errorf("letters %+v", letters)
			}
		})
	}
}

func dead(t *testing.T, dir string) []letter {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "webhook-*.dead.jsonl*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(paths) // the older file first
	var all []letter
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var l letter
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
	}
	return all
}

// One that is refused among several does not make the others come twice.
func TestAmongOthers(t *testing.T) {
	var mu sync.Mutex
	refused := ""
	r := newReceiver(t, nil)
	inner := r.Config.Handler
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		id := q.Header.Get("Webhook-Id")
		if refused == "" {
			refused = id
		}
		bad := refused == id
		mu.Unlock()
		if bad {
			w.WriteHeader(400)
			return
		}
		inner.ServeHTTP(w, q)
	})
	p, dir := open(t, r.URL, `, "template": "{{.request_id}}"`)
	var types []string
	for range 40 {
		types = append(types, "E")
	}
	observe(t, p, events(types...))
	shiptest.Until(t, "all", func() bool { return shiptest.Stat(p, "delivered")+shiptest.Stat(p, "rejected") == 40 })
	bodies := r.taken()
	slices.Sort(bodies)
	if len(bodies) != 39 || len(slices.Compact(bodies)) != 39 || len(dead(t, dir)) != 1 {
		t.Errorf("%d arrived, %d are dead: %q", len(bodies), len(dead(t, dir)), bodies)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most > 4 {
		t.Errorf("%d under way at a time", r.most)
	}
}

// Addresses that are nobody's in the internet are not reached unless they are allowed, also by a name.
func TestGuard(t *testing.T) {
	for addr, forbidden := range map[string]bool{
		"127.0.0.1:80": true, "10.1.2.3:80": true, "169.254.169.254:80": true, "[::1]:80": true, "[::ffff:10.0.0.1]:80": true, "[fe80::1%eth0]:80": true,
		"[64:ff9b::a00:1]:80": true, "[fd00::1]:80": true, "0.0.0.0:80": true, "100.64.0.1:80": true,
		// An address of IPv4 in one of IPv6: compatible, translated, by 6to4, NAT64 for local use, Teredo, ISATAP.
		"[::127.0.0.1]:80": true, "[::ffff:0:10.0.0.1]:80": true, "[2002:7f00:1::]:80": true, "[64:ff9b:1::a00:1]:80": true, "[2001:0:a00:1::]:80": true,
		"[2606:4700::5efe:a00:1]:80": true, "[2606:4700::200:5efe:a9fe:a9fe]:80": true, "[2606:4700::5efe:5db8:d70e]:80": false,
		"[fec0::1]:80": true, "[4000::1]:80": true, "[ff02::1]:80": true, "[::]:80": true, "255.255.255.255:80": true, "[fe80::a9fe:a9fe]:80": true,
		"93.184.215.14:443": false, "[2606:4700::1]:443": false,
	} {
		g := newGuard(nil)
		if err := g.control("tcp", addr, nil); (err != nil) != forbidden {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for allow, addr := range map[string]string{
		"10.0.0.0/8": "[::ffff:10.0.0.1]:80", "::ffff:10.0.0.0/104": "10.0.0.1:80", "64:ff9b::/96": "[64:ff9b::a00:1]:80", "10.1.0.0/16": "[2606:4700::5efe:a01:1]:80",
	} {
		s, err := parseSettings(json.RawMessage(`{"allow": ["` + allow + `"], "targets": [{"url": "https://a/"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := newGuard(s.allowed).control("tcp", addr, nil); err != nil {
			t.Errorf("%s is allowed: %v", allow, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(t.Context(), json.RawMessage(`{"targets": [{"url": "http://localhost:`+port+`/"}]}`), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	observe(t, p, events("E"))
	shiptest.Until(t, "the letter", func() bool { return shiptest.Stat(p, "rejected") == 1 })
	if letters := dead(t, dir); len(letters) != 1 || !strings.Contains(letters[0].Error, "allow") {
		t.Errorf("%+v", letters)
	}
}

// An outage loses nothing, a restart among it, in this process or in one of the plugin's own.
func TestOutage(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		outage(t, func(_ *testing.T, p *sdk.Plugin) *sdk.Plugin { return p })
	})
	t.Run("out of process", func(t *testing.T) { outage(t, remotetest.Serve) })
}

func outage(t *testing.T, where func(*testing.T, *sdk.Plugin) *sdk.Plugin) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := json.RawMessage(fmt.Sprintf(`{"allow": ["127.0.0.0/8"], "targets": [{"url": "http://%s/", "secrets": [%q], "events": [], "requests": {"sample": 1},
		"attempts": 1000000, "retry": {"first": "1ms", "max": "50ms"}}]}`, address, secret))
	first, err := New(t.Context(), config, sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	n := shiptest.Count(500, 5000)
	shiptest.Ship(t, first, 0, n/2)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := New(t.Context(), config, sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	second = where(t, second)
	shiptest.Ship(t, second, n/2, n-n/2)
	seen := shiptest.NewSeen()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err == nil {
			err = errors.Join(verify(q.Header, body), seen.Add(body))
		}
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(202)
	})}
	if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	shiptest.Until(t, "all", func() bool { return seen.Len() == n })
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	served.Wait()
}

func TestRate(t *testing.T) {
	r := newReceiver(t, nil)
	p, _ := open(t, r.URL, `, "rate": {"requests": 2, "per": "1h"}`)
	observe(t, p, events("A", "B", "C", "D"))
	shiptest.Until(t, "the rate", func() bool {
		return shiptest.Stat(p, "delivered") == 2 && shiptest.Stat(p, "retries") >= 0 && shiptest.Stat(p, "attempts") >= 2
	})
	if n := len(r.taken()); n != 2 {
		t.Errorf("%d were sent", n)
	}
}

func TestSettings(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                "targets",
		`{"targets": [{}]}`: "targets[0].url",
		`{"targets": [{"url": "ftp://a/?token=abc"}]}`:                             "targets[0].url",
		`{"targets": [{"url": "https://u:p@a/"}]}`:                                 "credentials",
		`{"targets": [{"url": "https://a/"}, {"url": "https://a/"}]}`:              "targets[1]",
		`{"targets": [{"url": "https://a/", "secrets": ["short"]}]}`:               "secrets",
		`{"targets": [{"url": "https://a/", "secrets": ["whsec_?"]}]}`:             "secrets",
		`{"targets": [{"url": "https://a/", "secrets": ["whsec_"]}]}`:              "secrets",
		`{"targets": [{"url": "https://a/", "secrets": ["whsec_c2hvcnQ="]}]}`:      "secrets",
		`{"targets": [{"url": "https://10.0.0.1/"}]}`:                              "targets[0].url: 10.0.0.1 is not an address of the internet",
		`{"targets": [{"url": "https://[::ffff:10.0.0.1]:8443/"}]}`:                "targets[0].url: 10.0.0.1 is not",
		`{"targets": [{"url": "https://a/", "headers": {"Host": "b"}}]}`:           "headers",
		`{"targets": [{"url": "https://a/", "headers": {"content-length": "1"}}]}`: "headers",
		`{"targets": [{"url": "https://a/", "template": "{{"}]}`:                   "template",
		`{"targets": [{"url": "https://a/", "events": []}]}`:                       "nothing would",
		`{"targets": [{"url": "https://a/", "events": ["all", "X"]}]}`:             "events",
		`{"targets": [{"url": "https://a/", "requests": {"sample": 2}}]}`:          "sample",
		`{"targets": [{"url": "https://a/", "method": "GET"}]}`:                    "method",
		`{"targets": [{"url": "https://a/", "headers": {"A B": "c"}}]}`:            "headers",
		`{"targets": [{"url": "https://a/", "in_flight": 1000}]}`:                  "in_flight",
		`{"targets": [{"url": "https://a/", "attempts": -1}]}`:                     "attempts",
		`{"targets": [{"url": "https://a/", "fields": ["nonsense"]}]}`:             "nonsense",
		`{"targets": [{"url": "https://a/"}], "allow": ["10.0.0.1"]}`:              "allow",
		`{"targets": [{"url": "https://a/", "evnts": []}]}`:                        "evnts",
	} {
		err := Check(json.RawMessage(config))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "webhook: ") {
			t.Errorf("%s: got %v", config, err)
		}
		if err != nil && strings.Contains(err.Error(), "abc") {
			t.Errorf("%v shows a token", err)
		}
	}
}

// The file of dead letters is bounded, and has the newest.
func TestDeadLettersAreBounded(t *testing.T) {
	dir := t.TempDir()
	d := newDeadLetters(dir, "x", 4096)
	for i := range 100 {
		item := shipItem(fmt.Sprint(i), strings.Repeat("b", 100))
		if err := d.write(item, errors.New("why")); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.write(shipItem("binary", "\xff\x00"), errors.New("why")); err != nil {
		t.Fatal(err)
	}
	letters := dead(t, dir)
	if n := len(letters); n < 5 || n > 30 || letters[n-1].ID != "binary" || string(letters[n-1].Base64) != "\xff\x00" || letters[n-2].ID != "99" {
		t.Errorf("%d letters, the last %+v", n, letters[n-1])
	}
	var size int64
	for _, name := range []string{"", ".1"} {
		info, err := os.Stat(d.path + name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 4096 {
		t.Errorf("%d bytes", size)
	}
	if err := newDeadLetters("", "x", 4096).write(shipItem("a", "b"), errors.New("why")); err != nil {
		t.Error(err)
	}
}

func shipItem(id, body string) []ship.Item { return []ship.Item{{Key: []byte(id), Body: []byte(body)}} }
