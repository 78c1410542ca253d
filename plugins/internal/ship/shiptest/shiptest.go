// Package shiptest is for the tests of shipping plugins: records to ship, and receivers that fail in every way.
package shiptest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Batch is n records whose request ids count up from from, and which take turns between ten keys.
func Batch(from, n int) sdk.Batch {
	b := sdk.Batch{Records: make([]sdk.Record, n)}
	for i := range b.Records {
		b.Records[i] = sdk.Record{
			Time: time.Now(), Duration: 1234 * time.Microsecond, Upstream: time.Millisecond, RequestID: fmt.Sprint(from + i), Route: "shop",
			RouteName: "Shop", Org: "acme", Client: netip.MustParseAddrPort("192.0.2.1:4711"), Method: "GET", Scheme: "https", Host: "shop.example",
			Path: "/v1/items/42", Query: "page=2&token=s3cret", Proto: "HTTP/1.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0)", Status: 200,
			ReplySize: 1234, Target: "http://10.0.0.1:9000", AnsweredBy: "upstream", Alias: "ada", KeyHash: fmt.Sprintf("key%d", (from+i)%10),
			Hooks: []sdk.HookRecord{{Name: "Check", Server: "guard", Phase: sdk.Pre, Duration: 50 * time.Microsecond}},
		}
	}
	return b
}

// Count is how many records a test ships: so many, and in make soak so many more.
func Count(test, soak int) int {
	if os.Getenv("TURNBUCKLE_SOAK") == "1" {
		return soak
	}
	return test
}

// Ship hands n records to a plugin's observer, so many at a time, as the gateway does.
func Ship(t *testing.T, p *sdk.Plugin, from, n int) {
	t.Helper()
	const at = 256
	for i := 0; i < n; i += at {
		if err := p.Observers[0].Observer.Observe(t.Context(), Batch(from+i, min(at, n-i))); err != nil {
			t.Error(err)
		}
	}
}

// Stat is what a plugin counts under a name.
func Stat(p *sdk.Plugin, name string) float64 {
	for _, s := range p.Stats() {
		if s.Name == name {
			return s.Value
		}
	}
	return -1
}

const patience = 60 * time.Second

// Delivered waits until a plugin has delivered, or lost, n records in all, and fails the test when none comes for a long time:
// how long all of them take is the machine's affair.
func Delivered(t *testing.T, p *sdk.Plugin, n int) {
	t.Helper()
	ended := func() int { return int(Stat(p, "delivered") + Stat(p, "dropped") + Stat(p, "rejected")) }
	for done := ended(); done < n; done = ended() {
		Until(t, fmt.Sprintf("more than %d of %d records", done, n), func() bool { return ended() > done })
	}
}

// Until waits until the condition holds, and fails the test when it does not for a long time.
func Until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Seen notes which records have arrived, and of each key in what order. It is safe for concurrent use.
type Seen struct {
	mu    sync.Mutex
	count []uint8        // by request id, up to 255
	many  int            // different ones
	last  map[string]int // by key: the number seen last
	order []string       // what was out of order
}

// NewSeen has seen nothing.
func NewSeen() *Seen { return &Seen{last: map[string]int{}} }

// shipped is what is read of a record.
type shipped struct {
	RequestID string `json:"request_id"`
	Request   struct{ Query string }
	Key       struct{ Hash string }
}

// mostRecords bounds the request ids that there are.
const mostRecords = 1 << 24

// Add notes one record as it was shipped.
func (s *Seen) Add(body []byte) error {
	var r shipped
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("%q: %w", body, err)
	}
	if strings.Contains(r.Request.Query, "s3cret") {
		return fmt.Errorf("a secret was shipped: %q", r.Request.Query)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := strconv.Atoi(r.RequestID)
	if err != nil || n < 0 || n >= mostRecords {
		return fmt.Errorf("request id %q: %w", r.RequestID, err)
	}
	if n >= len(s.count) {
		s.count = append(s.count, make([]uint8, n+1-len(s.count))...)
	}
	s.count[n] = min(s.count[n], 254) + 1
	if s.count[n] == 1 { // what comes again may come out of order
		s.many++
		if last, ok := s.last[r.Key.Hash]; ok && n < last {
			s.order = append(s.order, fmt.Sprintf("%s: %d after %d", r.Key.Hash, n, last))
		}
		s.last[r.Key.Hash] = n
	}
	return nil
}

// Len is how many different records have arrived.
func (s *Seen) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.many
}

// Check fails the test unless the records from from on have arrived, n of them, in order per key. It returns how many came
// more than once.
func (s *Seen) Check(t *testing.T, from, n int) (again int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from; i < from+n; i++ {
		if i >= len(s.count) || s.count[i] == 0 {
			t.Fatalf("record %d has not arrived", i)
		}
		if s.count[i] > 1 {
			again++
		}
	}
	if len(s.order) > 0 {
		t.Errorf("out of order, %d times, as %s", len(s.order), s.order[0])
	}
	return again
}

// Mode is how a Receiver behaves.
type Mode string

// The ways of a receiver.
const (
	Fine     Mode = "fine"
	Hang     Mode = "hang"            // never answers
	Busy     Mode = "429"             // 429 with Retry-After
	Broken   Mode = "500"             // 500
	Lazy     Mode = "slow"            // answers after a while
	CutBody  Mode = "close mid-body"  // breaks off its reply, having taken the batch
	CutEarly Mode = "close unread"    // closes the connection without having read
	Refused  Mode = "connection down" // nobody listens
)

// Modes are all ways to fail.
func Modes() []Mode { return []Mode{Hang, Busy, Broken, Lazy, CutBody, CutEarly, Refused} }

// Receiver is an HTTP service that takes batches, and fails as it is told to. It is safe for concurrent use.
type Receiver struct {
	URL      string
	Seen     *Seen
	split    func(body []byte) [][]byte
	server   *http.Server
	address  string
	mu       sync.Mutex
	mode     Mode
	problems []string
	requests []*http.Request
	last     []byte
	release  chan struct{}
}

// Lines splits a body into its lines.
func Lines(body []byte) [][]byte { return bytes.Split(body, []byte("\n")) }

// Array splits a JSON array.
func Array(body []byte) [][]byte {
	var all []json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		return [][]byte{body}
	}
	out := make([][]byte, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out
}

// NewReceiver starts one, which splits bodies so.
func NewReceiver(t *testing.T, split func(body []byte) [][]byte) *Receiver {
	t.Helper()
	r := &Receiver{Seen: NewSeen(), split: split, mode: Fine, release: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address, r.URL = l.Addr().String(), "http://"+l.Addr().String()
	r.serve(l)
	t.Cleanup(func() {
		close(r.release)
		r.stop()
		for _, p := range r.problems {
			t.Error(p)
		}
	})
	return r
}

func (r *Receiver) serve(l net.Listener) {
	s := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	r.server = s
	go func() { _ = s.Serve(l) }()
}

func (r *Receiver) stop() {
	if r.server != nil {
		_ = r.server.Close()
		r.server = nil
	}
}

// Set changes how the receiver behaves.
func (r *Receiver) Set(t *testing.T, m Mode) {
	t.Helper()
	r.mu.Lock()
	before := r.mode
	r.mode = m
	r.mu.Unlock()
	if m == Refused {
		r.stop()
		return
	}
	if before == Refused {
		l, err := net.Listen("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		r.serve(l)
	}
}

// Requests are URL and header of those that were taken.
func (r *Receiver) Requests() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Last is the record that came last, as it came.
func (r *Receiver) Last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// ServeHTTP implements [http.Handler].
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	mode := r.mode
	r.mu.Unlock()
	switch mode {
	case CutEarly:
		panic(http.ErrAbortHandler)
	case Hang:
		_, _ = io.Copy(io.Discard, request.Body)
		r.wait(request.Context(), time.Hour)
		return
	case Busy:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many", http.StatusTooManyRequests)
		return
	case Broken:
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	case Lazy:
		r.wait(request.Context(), 50*time.Millisecond)
	}
	if err := r.take(request); err != nil {
		r.mu.Lock()
		r.problems = append(r.problems, err.Error())
		r.mu.Unlock()
	}
	if mode == CutBody {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("{"))
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte(`{"response":"ok"}`))
}

func (r *Receiver) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-r.release:
	}
}

func (r *Receiver) take(request *http.Request) error {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil //nolint:nilerr // the sender has given up: it will send again
	}
	var last []byte
	for _, last = range r.split(data) {
		if err := r.Seen.Add(last); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.last = last
	r.requests = append(r.requests, &http.Request{URL: request.URL, Header: request.Header}) // and not its connection
	r.mu.Unlock()
	return nil
}

var _ http.Handler = (*Receiver)(nil)

// Outages ships so many records through every way in which the receiver can fail, which is the plugin's other side: each
// arrives at least once.
func Outages(t *testing.T, r *Receiver, p *sdk.Plugin, records int) {
	t.Helper()
	n := records / (2*len(Modes()) + 1)
	sent := 0
	for _, m := range Modes() {
		Ship(t, p, sent, n)
		sent += n
		r.Set(t, m)
		Ship(t, p, sent, n)
		sent += n
		if m != Lazy {
			attempts := Stat(p, "attempts")
			Until(t, "attempts while "+string(m), func() bool { return Stat(p, "attempts") > attempts+1 })
		}
		r.Set(t, Fine)
	}
	Ship(t, p, sent, n)
	sent += n
	Delivered(t, p, sent)
	if Stat(p, "dropped") != 0 || Stat(p, "rejected") != 0 {
		t.Errorf("lost some: %+v", p.Stats())
	}
	again := r.Seen.Check(t, 0, sent)
	t.Logf("%d records, %d came again, %v attempts, %v failed", sent, again, Stat(p, "attempts"), Stat(p, "retries"))
}
