package plugintest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"crypto/x509"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/display"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The outcomes of a hook. An exchange has that of the hook that ended it.
const (
	continued = "continued"
	answered  = "answered"
	refused   = "refused"
	failed    = "failed"
	notCalled = "not called"
)

// hookResult is what a hook did.
type hookResult struct {
	Hook        string           `json:"hook"`
	Phase       sdk.Phase        `json:"phase"`
	Outcome     string           `json:"outcome"`
	Microsecond float64          `json:"duration_us,omitempty"`
	Bytes       uint64           `json:"allocated_bytes,omitempty"`
	Allocations uint64           `json:"allocations,omitempty"`
	Log         []logLine        `json:"log,omitempty"`
	Counters    map[string]int64 `json:"counters,omitempty"`
	Changes     []display.Change `json:"changes,omitempty"`
	Refusal     *refusal         `json:"refusal,omitempty"`
	Error       *failure         `json:"error,omitempty"`
	Note        string           `json:"note,omitempty"`
}

type logLine struct {
	Level   slog.Level `json:"level"`
	Message string     `json:"message"`
}

// refusal is the error reply that a hook asked for.
type refusal struct {
	Status  int         `json:"status"`
	Message string      `json:"message"`
	Headers []sdk.Field `json:"headers,omitempty"`
}

// failure is why a hook gave no result.
type failure struct {
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Trace   string `json:"trace,omitempty"`
}

// result is what became of an exchange.
type result struct {
	Name     string       `json:"name"`
	Request  string       `json:"request"`
	OK       bool         `json:"ok"`
	Outcome  string       `json:"outcome"`
	By       string       `json:"by,omitempty"` // the hook that ended it
	Hooks    []hookResult `json:"hooks"`
	Failures []mismatch   `json:"failures,omitempty"`

	after sdk.Snapshot
}

// runner runs exchanges.
type runner struct {
	plugin  *opened
	route   sdk.Route
	timeout time.Duration
	times   int
}

// backing takes what a hook logs and counts.
type backing struct{ to *hookResult }

// PeerCertificates implements [sdk.Backing].
func (*backing) PeerCertificates() []*x509.Certificate { return nil }

// Log implements [sdk.Backing].
func (b *backing) Log(level slog.Level, message string) {
	b.to.Log = append(b.to.Log, logLine{level, message})
}

// Count implements [sdk.Backing].
func (b *backing) Count(name string, delta int64) {
	if b.to.Counters == nil {
		b.to.Counters = map[string]int64{}
	}
	b.to.Counters[name] += delta
}

// exchange runs hooks on an exchange, one after the other as the gateway does, as often as the runner says: what it shows
// is of the first time, and the figures are of the times after that, if there are any.
func (r *runner) exchange(ctx context.Context, s *sample, hooks []hook) (*result, error) {
	first, err := r.once(ctx, s, hooks)
	if err != nil {
		return nil, err
	}
	sums := make([]hookResult, len(hooks))
	for range r.times - 1 {
		again, err := r.once(ctx, s, hooks)
		if err != nil {
			return nil, err
		}
		for i := range again.Hooks {
			sums[i].Microsecond += again.Hooks[i].Microsecond
			sums[i].Bytes += again.Hooks[i].Bytes
			sums[i].Allocations += again.Hooks[i].Allocations
		}
	}
	if n := uint64(r.times - 1); n > 0 {
		for i := range first.Hooks {
			h := &first.Hooks[i]
			h.Microsecond, h.Bytes, h.Allocations = sums[i].Microsecond/float64(n), sums[i].Bytes/n, sums[i].Allocations/n
		}
	}
	return first, nil
}

func (r *runner) once(ctx context.Context, s *sample, hooks []hook) (*result, error) {
	b := &backing{}
	x, err := r.begin(s, b)
	if err != nil {
		return nil, err
	}
	done := &result{Name: s.Name, Request: s.Request.Method + " " + s.Request.Path, Outcome: continued}
	for _, h := range hooks {
		made := hookResult{Hook: h.Name, Phase: h.Phase, Outcome: notCalled}
		if done.By == "" {
			if h.Phase == sdk.ResponsePhase && x.Response().Status() == 0 {
				s.fillReply(x.Response())
			}
			b.to = &made
			r.call(ctx, x, s, h, &made)
			if made.Outcome != continued && (made.Outcome != answered || h.Phase != sdk.ResponsePhase) {
				done.Outcome, done.By = made.Outcome, h.Name
			}
		}
		done.Hooks = append(done.Hooks, made)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	done.after = x.Snapshot()
	return done, nil
}

// begin makes the exchange as it reaches the first hook.
func (r *runner) begin(s *sample, b *backing) (*sdk.Exchange, error) {
	client, err := netip.ParseAddrPort(s.Request.Client)
	if err != nil {
		addr, bad := netip.ParseAddr(s.Request.Client)
		if bad != nil {
			return nil, errors.New("client: " + err.Error())
		}
		client = netip.AddrPortFrom(addr, 54321)
	}
	route := r.route
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{
		Route: &route, Client: client, RequestID: "plugin-test",
		Trace: sdk.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, Backing: b,
	})
	path, query, _ := strings.Cut(s.Request.Path, "?")
	x.Request().Fill(sdk.RequestInit{
		Method: s.Request.Method, Scheme: s.Request.Scheme, Host: s.Request.Host, Path: path, Query: query, URI: s.Request.Path,
		Proto: "HTTP/1.1", Length: int64(len(s.Request.Body.text)),
	})
	for _, f := range s.Request.Headers.fields() {
		x.Request().Header().Append(f.Name, f.Value)
	}
	x.Request().LoadBody(bytes.Clone(s.Request.Body.text))
	if len(s.Session) > 0 {
		who, err := session.Decode(string(s.Session))
		if err != nil {
			return nil, errors.New("session: " + err.Error())
		}
		x.BeginSession(who)
	}
	for _, name := range sortedKeys(s.Values) {
		x.BeginValue(name, s.Values[name])
	}
	return x, nil
}

func (s *sample) fillReply(r *sdk.Response) {
	r.Fill(s.Reply.Status, int64(len(s.Reply.Body.text)))
	for _, f := range s.Reply.Headers.fields() {
		r.Header().Append(f.Name, f.Value)
	}
	r.LoadBody(bytes.Clone(s.Reply.Body.text))
}

// call runs one hook.
func (r *runner) call(ctx context.Context, x *sdk.Exchange, s *sample, h hook, made *hookResult) {
	before := x.Snapshot()
	made.Outcome = continued
	called, err := r.plugin.hook(h, sdk.HookUse{Name: h.Name, Phase: h.Phase, Config: s.Config, Route: x.Route()})
	if err == nil {
		x.Begin(h.Phase, s.Config, false)
		err = r.handle(ctx, x, called, made)
	}
	refusedBy := (*sdk.Error)(nil)
	switch {
	case errors.As(err, &refusedBy):
		made.Outcome = refused
		made.Refusal = &refusal{refusedBy.Status, refusedBy.Message, refusedBy.Header}
	case err != nil:
		made.Outcome = failed
		made.Error = explained(err)
	case x.Changes()&sdk.ChangedAnswer != 0:
		made.Outcome = answered
	case h.Phase == sdk.Auth && !x.Session().Identified():
		made.Note = "nobody is identified: unless another authenticator does, the gateway refuses the request"
	}
	after := x.Snapshot()
	made.Changes = display.Changes(&before, &after)
}

// handle calls the hook within its time, and measures.
func (r *runner) handle(ctx context.Context, x *sdk.Exchange, called sdk.Hook, made *hookResult) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	err := called.Handle(ctx, x)
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	made.Microsecond = float64(took.Nanoseconds()) / 1000
	made.Bytes, made.Allocations = after.TotalAlloc-before.TotalAlloc, after.Mallocs-before.Mallocs
	return err
}

func explained(err error) *failure {
	if e := (*script.Error)(nil); errors.As(err, &e) {
		return &failure{Message: e.Message, File: e.File, Line: e.Line, Trace: e.Trace}
	}
	return &failure{Message: err.Error()}
}

func sortedKeys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
