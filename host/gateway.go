package host

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Options are what a Gateway is made of. Log, Metrics and Replies are required.
type Options struct {
	Log       *slog.Logger
	Metrics   *observe.Metrics
	Shared    Shared             // required where a definition wants to know who calls, or has limits
	Replies   *reply.Renderer    // for requests that no definition answers for
	AccessLog *observe.AccessLog // nil: none
	Tracer    *observe.Tracer    // nil: no spans
	Explain   observe.Explainer  // told what each hook made of each exchange; nil: nobody is

	Match         config.PathMatching // how listen paths match that do not say
	MaxBody       config.Size         // of requests to APIs that do not say; 0: no bound
	Hooks         config.Policy       // for hooks that do not say
	Errors        config.Errors       // templates of APIs that have none
	HideGenerator bool
	Lifetime      identity.Lifetime   // of sessions that methods make, when neither they nor their API say
	LimitHeaders  config.LimitHeaders // which X-RateLimit fields replies have
	PassUnlimited bool                // requests go on, uncounted, while what counts them is away
	StrictReady   bool                // refused routes and dead plugin servers make the gateway not ready
	Dead          func() int          // how many plugin servers take no calls; nil: nobody knows of any
	Away          func() error        // why the store that requests need does not serve; nil: they need none
	Drain         time.Duration       // for flows of routes that a reload replaces
}

// Gateway serves flows. All methods are safe for concurrent use.
type Gateway struct {
	options Options
	log     *slog.Logger
	events  *events
	table   atomic.Pointer[Table]
	shards  atomic.Uint32
	closing atomic.Bool

	unrouted *observe.Route // counts what no route serves

	before *Table                  // of the gateway it is to succeed, until the first load
	next   atomic.Pointer[Gateway] // the one that succeeded it

	loading sync.Mutex // one load at a time; guards closed
	closed  bool
	retired sync.WaitGroup
	cancel  context.CancelFunc // of what events run

	drains    context.Context // of retired routes
	cutDrains context.CancelFunc
}

// New returns a gateway without routes: until the first Load it answers 503 and is not ready. ctx bounds what it runs;
// Close ends it.
func New(ctx context.Context, o Options) *Gateway {
	ctx, cancel := context.WithCancel(ctx)
	if o.Match == config.MatchDefault {
		o.Match = config.MatchSegments
	}
	drains, cutDrains := context.WithCancel(ctx)
	return &Gateway{
		options: o, log: o.Log, events: newEvents(ctx, o.Log, o.Metrics), unrouted: o.Metrics.Route(""), cancel: cancel,
		drains: drains, cutDrains: cutDrains,
	}
}

var _ flow.Handler = (*Gateway)(nil)

// Serve takes a flow through its route: rules and hooks in order, upstream, response hooks, reply.
func (g *Gateway) Serve(f *flow.Flow) {
	st, ok := f.State.(*state)
	if !ok {
		st = &state{shard: int(g.shards.Add(1)) % observe.Shards}
		f.State = st
	}
	st.begin(f, g)
	x := &f.X
	x.SetRequestID(st.nextID())
	route := g.find(st)
	if route == nil {
		return
	}
	st.route = route
	route.stats.Shard(st.shard).Begin()
	defer route.release(st.shard)
	defer st.end()
	x.SetRoute(&route.info)
	if t := g.options.Tracer; t != nil {
		st.span = t.Begin(f, &route.info)
	} else if parent := x.Request().Header().Get("Traceparent"); parent != "" {
		if _, ok := observe.ParseTraceparent(parent); ok {
			x.SetTrace(sdk.Trace{Parent: parent, State: x.Request().Header().Get("Tracestate")})
		}
	}
	if f.Body != nil {
		st.hold()
	}
	st.keepHeader()
	dropListed(x.Request().Header())
	st.exchange()
	st.returned = true
}

// find counts the flow into its route, or answers it where there is none.
func (g *Gateway) find(st *state) *Route {
	q := st.f.X.Request()
	for {
		t := g.table.Load()
		if q.Path() == helloPath || q.Path() == readyPath {
			if g.health(st, t, q) {
				return nil
			}
		}
		if t == nil {
			st.plain(503, "Service Unavailable")
			return nil
		}
		route, _ := t.index.find(q.Host(), q.Path())
		if route == nil {
			st.plain(404, "Not Found")
			return nil
		}
		if route.acquire(st.shard) {
			return route
		}
		if next := g.next.Load(); next != nil { // it picked this gateway when the other had just succeeded it
			next.Serve(st.f)
			return nil
		}
		if g.table.Load() == t { // no reload retired it: the gateway is closed
			st.plain(503, "Service Unavailable")
			return nil
		}
	}
}

// exchange runs the chain and sends what came of it.
func (st *state) exchange() {
	err := st.request()
	if err == nil {
		err = st.upstream()
	}
	if errors.Is(err, errAnswered) {
		err = nil
	}
	if err != nil && st.fail(err) {
		return
	}
	st.send()
}

// request runs the request phases. nil: the request is to go upstream.
func (st *state) request() error {
	r := st.route
	if r.refused != nil {
		st.failure = "definition refused"
		return &sdk.Error{Status: 503, Message: "API unavailable"}
	}
	x := &st.f.X
	st.cors = r.cors.Begin(x.Request()) // first: refusals are for scripts to read, too
	at, err := r.versions.Pick(x, r.listen.Path, st.f.Start)
	if err != nil {
		st.event(sdk.EventVersionFailure, err.Error())
		return err
	}
	r.versions.Strip(x, r.listen.Path)
	st.variant = r.variants[at]
	if err := st.admit(); err != nil {
		return err
	}
	if st.cors.Passthrough {
		return nil
	}
	for _, s := range st.variant.request {
		if err := s.run(st); err != nil {
			return err
		}
	}
	return nil
}

// admit checks path lists and CORS, which come before every hook.
func (st *state) admit() error {
	if limit := st.route.definition.Limits.Headers; limit > 0 && headerSize(st.f.X.Request()) > int64(limit) {
		return &sdk.Error{Status: 431, Message: "Request header fields too large"}
	}
	if p := st.variant.paths; p != nil {
		switch p.Check(st.f.X.Request().Method(), st.rest()) {
		case rules.Forbidden:
			st.event(sdk.EventVersionFailure, "Requested endpoint is forbidden")
			return rules.ErrForbidden()
		case rules.Ignored:
			st.ignored = true
		}
	}
	if st.cors.Preflight {
		st.cors.Answer(&st.f.X)
		return errAnswered
	}
	return nil
}

// headerSize is what a request's header takes in HTTP/1.1 (RFC 9112 §2.1), request line included.
func headerSize(q *sdk.Request) int64 {
	n := len(q.Method()) + len(q.URI()) + len(" HTTP/1.1\r\n ") + len("Host: \r\n") + len(q.Host())
	for _, f := range q.Header().Fields() {
		n += len(f.Name) + len(f.Value) + len(": \r\n")
	}
	return int64(n)
}

// fail makes the reply to an error; it reports whether there is nobody to send it to.
func (st *state) fail(err error) (gone bool) {
	f := st.f
	st.closeReply()
	var refusal *sdk.Error
	left := f.Ctx.Err() != nil
	switch {
	case left && errors.Is(err, context.Canceled), errors.Is(err, flow.ErrGone):
		return st.leave()
	case errors.As(err, &refusal):
		if st.failure == "" && refusal.Err != nil {
			st.failure = firstLine(refusal.Err.Error())
		}
	case left:
		return st.leave()
	default:
		st.failure = firstLine(err.Error())
		refusal = &sdk.Error{Status: 500, Message: "Internal Server Error", Err: err}
	}
	st.route.replies.Render(&f.X, refusal)
	return false
}

// leave notes that the client is not there any more.
func (st *state) leave() (gone bool) {
	why := st.whyLeft()
	st.gone, st.answeredBy, st.failure = true, "client", why.Error()
	if why == errCut { //nolint:errorlint // it is one of two
		st.answeredBy = "gateway"
	}
	return true
}

// Close waits for what is in flight until ctx ends, cuts the rest, and closes every route. It may be
// called again.
func (g *Gateway) Close(ctx context.Context) error {
	g.closing.Store(true)
	g.loading.Lock()
	defer g.loading.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	stop := context.AfterFunc(ctx, g.cutDrains) // drains that a reload began end with this one
	defer stop()
	var errs []error
	if t := g.table.Load(); t != nil {
		errs = append(errs, g.retireAll(ctx, t.routes)...)
	}
	g.retired.Wait()
	g.cancel()
	return errors.Join(errs...)
}
