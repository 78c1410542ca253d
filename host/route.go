package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe/tap"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Route is one definition compiled: everything a request of its needs, flat and immutable, and the counters of what is
// under way. A refused Route has its listen path and answers 503.
type Route struct {
	info       sdk.Route
	listen     config.Listen
	definition *config.Definition // nil when the file gave none
	refused    error              // why it does not serve; nil when it does

	replies  *reply.Renderer
	versions *rules.Versions
	variants []*variant
	cors     *rules.CORS
	taps     []observed
	headed   bool                 // some of taps may want headers in records
	handlers map[string][]handler // by event type
	stats    *observe.Route
	patterns patterns
	secret   []string // query parameters with credentials

	secretHeaders []string // header fields with credentials

	checks    []func() error // of hooks, when their servers are known
	upstreams []func(context.Context) error
	closers   []func(context.Context) error // of the rest, in the order of opening

	flights [observe.Shards]flights
	held    [observe.Shards]held
	retired atomic.Bool
	idle    chan struct{} // poked when a retired route's last flow ends
}

// variant is the chain of one version of a route.
type variant struct {
	name     string
	paths    *rules.Paths
	timeouts *rules.Timeouts
	headers  *rules.Headers
	request  []step
	response []step
	upstream Upstream
}

// handler is a classic event handler.
type handler struct {
	tap *tap.Tap // nil: write to the log
	log string   // prefix
}

type flights struct {
	n atomic.Int64
	_ [56]byte
}

// acquire counts a flow in, or reports that the route has been retired: the caller looks the route up again.
func (r *Route) acquire(shard int) bool {
	r.flights[shard].n.Add(1)
	if !r.retired.Load() {
		return true
	}
	r.release(shard)
	return false
}

func (r *Route) release(shard int) {
	r.flights[shard].n.Add(-1)
	if r.retired.Load() {
		select {
		case r.idle <- struct{}{}:
		default:
		}
	}
}

func (r *Route) inFlight() int64 {
	var n int64
	for i := range r.flights {
		n += r.flights[i].n.Load()
	}
	return n
}

// cutTime is how long flows get to notice that what they wait for was closed, and closing gets after a drain.
const cutTime = 5 * time.Second

// retire waits until no flow is under way or ctx ends, cuts the flows that are left, and closes what the route opened:
// upstreams first, then the rest, last opened first. It takes ctx and twice cutTime at most.
func (r *Route) retire(ctx context.Context) error {
	r.retired.Store(true)
	var errs []error
	drained := r.await(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTime)
	defer cancel()
	if !drained {
		errs = append(errs, fmt.Errorf("api %s: %d exchanges were cut when their time to drain was over", r.info.ID, r.inFlight()))
		r.cut()
		for _, closeUpstream := range r.upstreams {
			_ = closeUpstream(ctx) // which says again that it cut
		}
		r.await(closing)
	} else {
		for _, closeUpstream := range r.upstreams {
			errs = append(errs, closeUpstream(closing))
		}
	}
	for _, closeIt := range slices.Backward(r.closers) {
		errs = append(errs, closeIt(closing))
	}
	if !drained && !r.await(closing) {
		errs = append(errs, fmt.Errorf("api %s: %d exchanges did not end when they were cut", r.info.ID, r.inFlight()))
	}
	return errors.Join(errs...)
}

// await waits until no flow of a retired route is under way; false when ctx ended before.
func (r *Route) await(ctx context.Context) bool {
	for r.inFlight() > 0 {
		select {
		case <-r.idle:
		case <-ctx.Done():
			return r.inFlight() == 0
		}
	}
	return true
}

// refusedRoute keeps the listen path of a definition that cannot serve.
func refusedRoute(id, file string, l config.Listen, why error, o *Options) *Route {
	if l.Match == config.MatchDefault {
		l.Match = o.Match
	}
	r := &Route{
		info: sdk.Route{ID: id, Name: id, ListenPath: l.Path}, listen: l, refused: why, replies: o.Replies,
		definition: &config.Definition{ID: id, Source: config.Source{File: file}},
		stats:      o.Metrics.Route(id), idle: make(chan struct{}, 1), versions: rules.CompileVersions(config.Versions{}),
	}
	return r
}
