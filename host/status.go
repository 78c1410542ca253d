package host

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Status is what the control listener says of the gateway's routes.
type Status struct {
	Loaded time.Time     `json:"loaded"`
	Routes []RouteStatus `json:"routes"`
}

// RouteStatus is one route as it stands.
type RouteStatus struct {
	ID         string   `json:"id"`
	Name       string   `json:"name,omitempty"`
	Host       string   `json:"host,omitempty"`
	ListenPath string   `json:"listen_path"`
	File       string   `json:"file"`
	State      string   `json:"state"`            // serving, stale (the newer definition is refused) or refused
	Reason     string   `json:"reason,omitempty"` // why it is stale or refused
	InFlight   int64    `json:"in_flight"`
	Hooks      []string `json:"hooks,omitempty"`     // phase/server/name, in the order they run
	Observers  []string `json:"observers,omitempty"` // server/name
	Targets    any      `json:"targets,omitempty"`
}

// The states of a route.
const (
	stateServing = "serving"
	stateStale   = "stale"
	stateRefused = "refused"
)

// Status tells how every route stands.
func (g *Gateway) Status() Status {
	t := g.table.Load()
	if t == nil {
		return Status{Routes: []RouteStatus{}}
	}
	s := Status{Loaded: t.loaded, Routes: make([]RouteStatus, 0, len(t.routes)+len(t.homeless))}
	for _, r := range slices.Concat(t.routes, t.homeless) {
		rs := RouteStatus{
			ID: r.info.ID, Name: r.info.Name, Host: r.listen.Host, ListenPath: r.listen.Path,
			File: r.definition.Source.File, State: stateServing, InFlight: r.inFlight(), Hooks: r.hookNames(), Observers: r.observerNames(),
		}
		if why := t.stale[r]; why != nil {
			rs.State, rs.Reason = stateStale, why.Error()
		}
		if r.refused != nil {
			rs.State, rs.Reason = stateRefused, r.refused.Error()
		}
		if len(r.variants) > 0 {
			if u, ok := r.variants[0].upstream.(interface{ Status() any }); ok {
				rs.Targets = u.Status()
			}
		}
		s.Routes = append(s.Routes, rs)
	}
	return s
}

func (r *Route) hookNames() []string {
	if r.refused != nil {
		return nil
	}
	var names []string
	for _, p := range config.Phases() {
		for _, h := range r.definition.HooksIn(p) {
			names = append(names, string(p)+"/"+serverName(h.Server)+"/"+h.Name)
		}
	}
	return names
}

func (r *Route) observerNames() []string {
	if r.refused != nil {
		return nil
	}
	var names []string
	for _, o := range r.definition.Observers {
		names = append(names, serverName(o.Server)+"/"+o.Name)
	}
	return names
}

// Ready reports, as a status code and a JSON body, whether the gateway should get requests: 503 before the first table,
// while closing, while the store that requests need is away, and, when it is strict, while a route is refused or a plugin server takes no calls.
func (g *Gateway) Ready() (int, []byte) {
	if next := g.next.Load(); next != nil {
		return next.Ready()
	}
	t := g.table.Load()
	refused := 0
	if t != nil {
		_, refused = t.counts()
	}
	why := ""
	switch {
	case g.closing.Load():
		why = "draining"
	case t == nil:
		why = "loading"
	case g.away() != nil:
		why = "the store is away"
	case g.options.StrictReady && refused > 0:
		why = "routes are refused"
	case g.options.StrictReady && g.options.Dead != nil && g.options.Dead() > 0:
		why = "plugin servers take no calls"
	}
	if why != "" {
		return 503, body(map[string]string{"status": "fail", "reason": why})
	}
	return 200, body(map[string]string{"status": "pass"})
}

// Hello is the body of /hello: JSON, always to be sent with 200.
func (g *Gateway) Hello() []byte {
	status := "pass"
	if code, _ := g.Ready(); code != 200 {
		status = "fail"
	} else if _, refused := g.table.Load().counts(); refused > 0 {
		status = "warn"
	}
	details := map[string]any{}
	if err := g.away(); err != nil {
		details["store"] = map[string]string{"status": "fail", "componentType": "datastore"}
	}
	return body(map[string]any{"status": status, "description": "Turnbuckle", "details": details})
}

// away says why the store does not serve; nil when it does, or requests need none.
func (g *Gateway) away() error {
	if g.options.Away == nil {
		return nil
	}
	return g.options.Away()
}

// StartClosing makes the gateway not ready, so that load balancers look elsewhere; it goes on serving.
func (g *Gateway) StartClosing() { g.closing.Store(true) }

// counts returns how many routes serve, and how many definitions are refused.
func (t *Table) counts() (serving, refused int) {
	refused = len(t.homeless)
	for _, r := range t.routes {
		if r.refused != nil {
			refused++
		} else {
			serving++
		}
	}
	return serving, refused
}

func body(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("{}") // maps of strings always marshal
	}
	return b
}

// helloPath and readyPath answer on the data listener too, unless a definition's listen path is theirs: that is
// where the probes of a Tyk set-up ask.
const (
	helloPath = "/hello"
	readyPath = "/ready"
)

func (g *Gateway) health(st *state, t *Table, q *sdk.Request) bool {
	if q.Method() != "GET" && q.Method() != "HEAD" {
		return false
	}
	if t != nil {
		if r, n := t.index.find(q.Host(), q.Path()); r != nil && n == len(q.Path()) {
			return false
		}
	}
	status, body := 200, g.Hello()
	if q.Path() == readyPath {
		status, body = g.Ready()
	}
	r := st.f.X.Response()
	r.Fill(status, 0)
	r.Header().Append("Content-Type", "application/json")
	st.f.Client.WriteHeader(status, r.Header(), int64(len(body)))
	_, _ = st.f.Client.Write(body)
	return true
}
