package host

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
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
	taps     []*observe.Tap
	handlers map[string][]handler // by event type
	stats    *observe.Route

	closers []func(context.Context) error // in the order of opening
	flights [observe.Shards]flights
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
	tap *observe.Tap // nil: write to the log
	log string       // prefix
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

// retire waits until no flow is under way or ctx ends, then closes what the route opened, last opened first, and waits
// for the flows that this cuts.
func (r *Route) retire(ctx context.Context, cut time.Duration) error {
	r.retired.Store(true)
	for waiting := true; waiting && r.inFlight() > 0; {
		select {
		case <-r.idle:
		case <-ctx.Done():
			waiting = false
		}
	}
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i](ctx))
	}
	over := time.NewTimer(cut)
	defer over.Stop()
	for r.inFlight() > 0 {
		select {
		case <-r.idle:
		case <-over.C:
			return errors.Join(append(errs, fmt.Errorf("api %s: %d exchanges did not end", r.info.ID, r.inFlight()))...)
		}
	}
	return errors.Join(errs...)
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
