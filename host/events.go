package host

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe/tap"
	"github.com/turnbuckle-gateway/turnbuckle/host/policy"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// events is the one way events take: counted, written to the log where a definition asks for it, handed to the route's
// observers and handlers. It owns the taps, which routes share.
type events struct {
	ctx     context.Context // bounds observers' calls
	log     *slog.Logger
	metrics *observe.Metrics

	mu   sync.Mutex
	taps map[tapKey]*sharedTap
}

type tapKey struct {
	server, observer string
	identity         any
	handler          bool // of one kind of event, and told of nothing else
}

type sharedTap struct {
	tap   *tap.Tap
	users int
}

func newEvents(ctx context.Context, log *slog.Logger, m *observe.Metrics) *events {
	return &events{ctx: ctx, log: log, metrics: m, taps: map[tapKey]*sharedTap{}}
}

// tap returns the tap of an observer, one for all routes; each call is answered by one untap.
func (e *events) tap(k tapKey, o sdk.Observer) *tap.Tap {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.taps[k]
	if s == nil {
		name := k.server + "/" + k.observer
		s = &sharedTap{tap: tap.New(e.ctx, name, o, e.metrics.Tap(name), func(name string, err error) {
			e.log.Warn("observer failed", "observer", name, "error", err.Error())
		})}
		e.taps[k] = s
	}
	s.users++
	return s.tap
}

// untap gives a tap back; the last user's return closes it.
func (e *events) untap(ctx context.Context, k tapKey) error {
	e.mu.Lock()
	s := e.taps[k]
	s.users--
	last := s.users == 0
	if last {
		delete(e.taps, k)
	}
	e.mu.Unlock()
	if !last {
		return nil
	}
	return s.tap.Close(ctx)
}

// publish hands an event to the observers and handlers of its route.
func (e *events) publish(r *Route, ev sdk.Event) {
	e.metrics.Event(ev.Type, ev.Route)
	for _, t := range r.taps {
		t.Event(ev)
	}
	for _, h := range r.handlers[ev.Type] {
		if h.tap != nil {
			h.tap.Event(ev)
			continue
		}
		e.log.Info(h.log, "event", ev.Type, "api", ev.Route, "request_id", ev.RequestID, "message", ev.Message)
	}
}

// all hands an event of the gateway's own to every observer; handlers asked for events of their route.
func (e *events) all(ev sdk.Event) {
	e.metrics.Event(ev.Type, ev.Route)
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, s := range e.taps {
		if !k.handler {
			s.tap.Event(ev)
		}
	}
}

func (e *events) breaker(r *Route, h *hookStep, b policy.BreakerChange) {
	kind, message := sdk.EventBreakerReset, fmt.Sprintf("breaker of hook %s closed", h.name)
	if b.Open {
		kind = sdk.EventBreakerTripped
		message = fmt.Sprintf("breaker of hook %s opened: %d of %d calls failed", h.name, b.Fails, b.Calls)
	}
	e.log.Warn(message, "api", r.info.ID, "phase", h.phase.String(), "server", h.server)
	e.publish(r, sdk.Event{Time: time.Now(), Type: kind, Route: r.info.ID, Org: r.info.Org, Message: message})
}

// Publish hands an event that something outside the exchanges caused to whoever wants the events of its route.
func (g *Gateway) Publish(ev sdk.Event) {
	if t := g.table.Load(); t != nil {
		for _, r := range t.routes {
			if r.info.ID == ev.Route {
				g.events.publish(r, ev)
				return
			}
		}
	}
	if ev.Route != "" { // of a route that is not there yet, or no longer: nobody else's business
		g.events.metrics.Event(ev.Type, ev.Route)
		return
	}
	g.events.all(ev)
}

// event publishes what happened to the exchange.
func (st *state) event(kind, message string) {
	if st.trying > 0 {
		return // another method may let the caller in
	}
	r, x := st.route, &st.f.X
	ev := sdk.Event{
		Time: time.Now(), Type: kind, Route: r.info.ID, Org: r.info.Org, RequestID: x.RequestID(), Message: message,
	}
	if len(r.taps) > 0 || len(r.handlers[kind]) > 0 {
		ev.Meta = map[string]string{
			"Path": x.Request().Path(), "Origin": x.ClientAddr().Addr().String(), "Key": st.credential(),
			"OriginatingRequest": originating(x.Request()),
		}
	}
	st.gate.events.publish(r, ev)
}

// credential is what the client presented, as events of failed keys carry it.
func (st *state) credential() string {
	c, r := st.route.definition.Credential, st.f.X.Request()
	if v, ok := r.Query().Lookup(c.Param); ok && c.Param != "" {
		return v
	}
	if v := cookie(r.Header(), c.Cookie); v != "" {
		return v
	}
	name := c.Header
	if name == "" {
		name = "Authorization"
	}
	return r.Header().Get(name)
}

// originating is the request's header in wire form, base64: what Tyk's handlers of failure events decode.
func originating(r *sdk.Request) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method(), r.Target(), r.Host())
	for name, value := range r.Header().All() {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	b.WriteString("\r\n")
	b.Write(r.Body())
	return base64.StdEncoding.EncodeToString(b.Bytes())
}
